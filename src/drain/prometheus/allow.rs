//! Which addresses may be asked. Who writes an object must not be able to send the operator wherever he likes: whoever
//! runs the operator lists what it may ask.

use reqwest::Url;

/// A text that is no address to ask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not the address of a Prometheus: write for example https://prometheus.monitoring:9090, with the path before /api/v1 if there is one, and without user, query, fragment, `%` and `..`"
)]
pub struct NotAnAddress(String);

/// The addresses that may be asked, with all below their paths. None as it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(Vec<Url>);

impl Allowed {
    /// By a list of URL prefixes. Empty ones do not count, so that an empty variable is an empty list.
    ///
    /// # Errors
    /// One of them is not an address.
    pub fn parse(prefixes: &[String]) -> Result<Self, NotAnAddress> {
        let prefixes = prefixes.iter().map(|prefix| prefix.trim()).filter(|prefix| !prefix.is_empty());
        prefixes.map(address).collect::<Result<_, _>>().map(Self)
    }

    /// Scheme, host and port are those of a prefix, and the path is its path or below it.
    pub(super) fn admits(&self, address: &Url) -> bool {
        self.0.iter().any(|prefix| {
            let parts = |url: &Url| {
                (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default())
            };
            let below = address.path().strip_prefix(prefix.path().trim_end_matches('/'));
            parts(prefix) == parts(address)
                && below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
        })
    }
}

/// An address that says nothing but where to go.
pub(super) fn address(text: &str) -> Result<Url, NotAnAddress> {
    let refuse = || NotAnAddress(text.to_owned());
    let odd = |c: char| !c.is_ascii_graphic() || matches!(c, '%' | '\\' | '@' | '?' | '#' | ',');
    if text.contains(odd) || text.contains("..") {
        return Err(refuse());
    }
    let url = Url::parse(text).map_err(|_| refuse())?;
    let known = matches!(url.scheme(), "http" | "https") && url.has_host();
    // The parser forgives a missing slash; whoever reads the list must not have to know that.
    if known && text.contains("://") { Ok(url) } else { Err(refuse()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allowed(prefixes: &[&str]) -> Allowed {
        let prefixes: Vec<_> = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
        Allowed::parse(&prefixes).unwrap()
    }

    fn admitted(prefixes: &[&str], asked: &str) -> bool {
        allowed(prefixes).admits(&address(asked).unwrap())
    }

    #[test]
    fn nothing_is_allowed_that_is_not_listed() {
        assert!(!admitted(&[], "http://prometheus:9090"));
        assert!(!admitted(&["", " "], "http://prometheus:9090"));
        assert!(admitted(&["http://other", "http://prometheus:9090"], "http://prometheus:9090/"));
    }

    #[test]
    fn scheme_host_and_port_must_be_the_same_and_a_path_the_same_or_below() {
        let listed = ["https://prometheus.monitoring:9090/team"];
        for asked in [
            "https://prometheus.monitoring:9090/team",
            "https://Prometheus.monitoring:9090/team/",
            "https://prometheus.monitoring:9090/team/a",
        ] {
            assert!(admitted(&listed, asked), "{asked}");
        }
        for asked in [
            "http://prometheus.monitoring:9090/team",
            "https://prometheus.monitoring/team",
            "https://prometheus.monitoring:9091/team",
            "https://prometheus.monitoring.evil.example:9090/team",
            "https://evil.prometheus.monitoring:9090/team",
            "https://prometheus.monitoring:9090",
            "https://prometheus.monitoring:9090/teams",
            "https://prometheus.monitoring:9090/other/team",
        ] {
            assert!(!admitted(&listed, asked), "{asked}");
        }
        assert!(admitted(&["https://p:443"], "https://p"), "the port that the scheme has anyway");
    }

    #[test]
    fn what_is_not_plainly_an_address_is_refused() {
        for text in [
            "",
            "prometheus:9090",
            "ftp://p",
            "file:///etc/passwd",
            "http://",
            "http:p",
            "https:/p",
            "http://user@p",
            "http://p?x=1",
            "http://p#x",
            "http://p/../x",
            "http://p/%2e%2e/x",
            "http://p\\x",
            "http://p/a b",
            "http://p/ä",
            "http://a,http://b",
        ] {
            let refused = address(text).unwrap_err().to_string();
            assert!(refused.contains("write for example"), "{text}: {refused}");
            assert!(text.is_empty() || Allowed::parse(&[text.to_owned()]).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_follows_a_prefix_it_is_asked_at_the_same_place_or_refused(rest in "[ -~]{0,20}") {
            if let Ok(asked) = address(&format!("http://prometheus:9090{rest}")) && allowed(&["http://prometheus:9090"]).admits(&asked) {
                prop_assert_eq!(asked.host_str(), Some("prometheus"));
                prop_assert_eq!((asked.port(), asked.scheme(), asked.username()), (Some(9090), "http", ""));
            }
        }

        #[test]
        fn no_way_leads_out_of_the_path_of_a_prefix(rest in "[a-z./%]{0,20}") {
            if let Ok(asked) = address(&format!("http://prometheus/team{rest}")) {
                let inside = asked.path() == "/team" || asked.path().starts_with("/team/");
                prop_assert_eq!(allowed(&["http://prometheus/team"]).admits(&asked), inside);
            }
        }
    }
}
