//! Where Tencent's API is asked. Only whoever runs the operator can say so.

use reqwest::Url;

use super::Service;

/// What stands for `clb` or `monitor`.
const SERVICE: &str = "{service}";

/// Address and `Host` of each service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    clb: (Url, String),
    monitor: (Url, String),
}

/// A text that is no place to ask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an endpoint of Tencent's API: write for example https://{{service}}.intl.tencentcloudapi.com, with `{{service}}` where clb and monitor stand, without user, path, query and fragment; http is for the loopback address only"
)]
pub struct NotAnEndpoint(String);

impl Endpoint {
    /// Tencent's own, for all regions but those of finance zones.
    pub const DEFAULT: &str = "https://{service}.tencentcloudapi.com";

    /// Reads an address with `{service}` in its host.
    ///
    /// # Errors
    /// It is none, it would be asked in the open, or both services would be one.
    pub fn parse(text: &str) -> Result<Self, NotAnEndpoint> {
        let refuse = || NotAnEndpoint(text.to_owned());
        let of = |service: Service| {
            let odd = |c: char| !c.is_ascii_graphic() || matches!(c, '%' | '\\' | '@' | '?' | '#');
            let url = Url::parse(&text.replacen(SERVICE, service.name(), 1)).ok()?;
            let plain = !text.contains(odd) && text.contains("://") && url.path() == "/";
            let safe = match url.scheme() {
                "https" => text.contains(&format!("//{SERVICE}.")),
                "http" => matches!(url.host_str(), Some("127.0.0.1" | "[::1]")),
                _ => false,
            };
            let host = match url.port() {
                Some(port) => format!("{}:{port}", url.host_str()?),
                None => url.host_str()?.to_owned(),
            };
            (plain && safe).then_some((url, host))
        };
        Ok(Self {
            clb: of(Service::Clb).ok_or_else(refuse)?,
            monitor: of(Service::Monitor).ok_or_else(refuse)?,
        })
    }

    pub(super) fn of(&self, service: Service) -> (&Url, &str) {
        let (url, host) = match service {
            Service::Clb => &self.clb,
            Service::Monitor => &self.monitor,
        };
        (url, host)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_service_has_a_host_of_its_own() {
        for (text, clb, monitor) in [
            (Endpoint::DEFAULT, "clb.tencentcloudapi.com", "monitor.tencentcloudapi.com"),
            (
                "https://{service}.ap-shanghai-fsi.tencentcloudapi.com/",
                "clb.ap-shanghai-fsi.tencentcloudapi.com",
                "monitor.ap-shanghai-fsi.tencentcloudapi.com",
            ),
            ("https://{service}.proxy.example:8443", "clb.proxy.example:8443", "monitor.proxy.example:8443"),
            ("http://127.0.0.1:1234", "127.0.0.1:1234", "127.0.0.1:1234"),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!((endpoint.of(Service::Clb).1, endpoint.of(Service::Monitor).1), (clb, monitor));
        }
    }

    #[test]
    fn what_is_not_plainly_an_endpoint_is_refused_with_what_to_write() {
        for text in [
            "",
            "tencentcloudapi.com",
            "https://clb.tencentcloudapi.com",
            "https://tencentcloudapi.com/{service}",
            "https://user@{service}.tencentcloudapi.com",
            "https://{service}@evil.example",
            "https://{service}.a/b",
            "https://{service}.a?b",
            "https://{service}.a#b",
            "http://{service}.tencentcloudapi.com",
            "http://10.0.0.1",
            "http://localhost.evil.example",
            "ftp://127.0.0.1",
        ] {
            let refused = Endpoint::parse(text).unwrap_err().to_string();
            assert!(refused.contains("https://{service}.intl"), "{text}: {refused}");
        }
    }

    proptest! {
        #[test]
        fn what_is_sent_in_the_open_stays_on_this_machine(rest in "[ -~]{0,20}") {
            if let Ok(endpoint) = Endpoint::parse(&format!("http://{rest}")) {
                let host = endpoint.of(Service::Clb).0.host_str().unwrap().to_owned();
                prop_assert!(host == "127.0.0.1" || host == "[::1]", "{}", host);
            }
        }
    }
}
