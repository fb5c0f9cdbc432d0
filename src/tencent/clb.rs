//! `DescribeTargets`: the weight of each backend of a CLB
//! (<https://cloud.tencent.com/document/api/214/30684>).

use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::{Action, Api, Problem, read};

/// What a port carries, as a Service says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

/// What a listener speaks. Another word makes the answer unreadable: it might be about our port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Protocol {
    Tcp,
    Udp,
    Http,
    Https,
    TcpSsl,
    Quic,
}

impl Protocol {
    const fn transport(self) -> Transport {
        match self {
            Self::Tcp | Self::Http | Self::Https | Self::TcpSsl => Transport::Tcp,
            Self::Udp | Self::Quic => Transport::Udp,
        }
    }
}

/// The listeners of a CLB with their backends.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Listeners {
    listeners: Vec<Listener>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listener {
    #[serde(rename = "ListenerId")]
    id: String,
    protocol: Protocol,
    port: i64,
    /// The last port of a listener of several; else none or 0.
    end_port: Option<i64>,
    /// Of a listener of layer 4.
    targets: Option<Vec<Target>>,
    /// Of a listener of layer 7.
    rules: Option<Vec<Rule>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Rule {
    location_id: String,
    targets: Option<Vec<Target>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Target {
    private_ip_addresses: Option<Vec<String>>,
    weight: Option<u32>,
}

/// How a backend stands in the listeners of a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is in each of them with weight 0.
    Detached,
    /// It still gets connections.
    Attached {
        /// By which listener, or rule of one.
        by: String,
        /// Its weight.
        weight: u32,
    },
}

/// What cannot be told from an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// Another balancer, or another region.
    #[error("the load balancer has no listener on port {port}/{transport}; correct its id or region")]
    NoListener {
        /// The Service's port.
        port: u16,
        /// What it carries.
        transport: Transport,
    },
    /// Backends that the answer does not show, target groups for example.
    #[error("{listener} shows no backends (target groups are not read)")]
    NoBackends {
        /// The listener, or a rule of one.
        listener: String,
    },
    /// Not there. No document says that a pod which the balancer is to serve is missing only when it gets no connections:
    /// it may be the wrong balancer, or a part of the list.
    #[error("{ip} is not among the backends of {listener}")]
    Absent {
        /// The pod's address.
        ip: IpAddr,
        /// The listener, or a rule of one.
        listener: String,
    },
    /// There, without a weight.
    #[error("{listener} shows {ip} without a weight")]
    NoWeight {
        /// The pod's address.
        ip: IpAddr,
        /// The listener, or a rule of one.
        listener: String,
    },
}

/// Reads an answer.
///
/// # Errors
/// See [`Problem`].
pub fn parse(body: &[u8]) -> Result<Listeners, Problem> {
    read(Action::DescribeTargets, body)
}

impl Listeners {
    /// How the backend of this address stands in every listener of the port, and in every rule of each.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn standing(&self, port: u16, transport: Transport, ip: IpAddr) -> Result<Standing, Doubt> {
        let listeners: Vec<_> =
            self.listeners.iter().filter(|listener| listener.is_of(port, transport)).collect();
        if listeners.is_empty() {
            return Err(Doubt::NoListener { port, transport });
        }
        for listener in listeners {
            for (name, targets) in listener.pools()? {
                match weight(targets, &name, ip)? {
                    0 => {}
                    weight => return Ok(Standing::Attached { by: name, weight }),
                }
            }
        }
        Ok(Standing::Detached)
    }
}

impl Listener {
    fn is_of(&self, port: u16, transport: Transport) -> bool {
        let port = i64::from(port);
        let last = self.end_port.filter(|end| *end > self.port).unwrap_or(self.port);
        self.protocol.transport() == transport && (self.port..=last).contains(&port)
    }

    /// Its lists of backends: its own, or that of each rule.
    fn pools(&self) -> Result<Vec<(String, &[Target])>, Doubt> {
        let name = format!("listener {}", self.id);
        let own = self.targets.as_deref().filter(|targets| !targets.is_empty());
        let mut pools: Vec<_> = own.map(|targets| (name.clone(), targets)).into_iter().collect();
        let rules = self.rules.iter().flatten();
        pools.extend(rules.map(|rule| {
            (format!("{name} rule {}", rule.location_id), rule.targets.as_deref().unwrap_or_default())
        }));
        if pools.is_empty() { Err(Doubt::NoBackends { listener: name }) } else { Ok(pools) }
    }
}

/// The highest weight of this address: a pod may be there with several ports.
fn weight(targets: &[Target], name: &str, ip: IpAddr) -> Result<u32, Doubt> {
    let is_its = |target: &&Target| {
        let addresses = target.private_ip_addresses.iter().flatten();
        addresses.into_iter().any(|address| address.parse() == Ok(ip))
    };
    let listener = || name.to_owned();
    let weights = targets.iter().filter(is_its).map(|target| target.weight);
    let weights: Option<Vec<u32>> = weights.collect();
    let weights = weights.ok_or_else(|| Doubt::NoWeight { ip, listener: listener() })?;
    weights.into_iter().max().ok_or_else(|| Doubt::Absent { ip, listener: listener() })
}

impl Api {
    /// The listeners of one port, so that an answer stays small however many listeners a balancer has.
    ///
    /// # Errors
    /// See [`Problem`].
    pub async fn targets(
        &self,
        load_balancer: &str,
        port: u16,
        now: Timestamp,
    ) -> Result<Listeners, Problem> {
        let body = json!({"LoadBalancerId": load_balancer, "Port": port});
        parse(&self.ask(Action::DescribeTargets, &body, now).await?.body)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const IP: &str = "10.0.0.7";

    fn ip() -> IpAddr {
        IP.parse().unwrap()
    }

    fn target(address: &str, weight: &Value) -> Value {
        json!({"Type": "ENI", "InstanceId": "", "Port": 8080, "Weight": weight,
            "PublicIpAddresses": null, "PrivateIpAddresses": [address], "EniId": "eni-1", "Zone": {}})
    }

    fn listener(protocol: &str, port: u16, targets: &Value) -> Value {
        json!({"ListenerId": "lbl-1", "Protocol": protocol, "Port": port, "EndPort": null,
            "Rules": null, "Targets": targets})
    }

    fn web(rules: &[&Value]) -> Value {
        let rule =
            |targets: &&Value| json!({"LocationId": "loc-1", "Domain": "*", "Url": "/", "Targets": targets});
        json!({"ListenerId": "lbl-2", "Protocol": "HTTPS", "Port": 80, "Targets": null,
            "Rules": rules.iter().map(rule).collect::<Vec<_>>()})
    }

    fn answered(listeners: &[Value]) -> Value {
        json!({"Response": {"Listeners": listeners, "RequestId": "r"}})
    }

    fn standing(listeners: &[Value]) -> Result<Standing, Doubt> {
        let body = answered(listeners).to_string();
        parse(body.as_bytes()).unwrap().standing(80, Transport::Tcp, ip())
    }

    fn pool(weight: u32) -> Value {
        json!([target("10.0.0.6", &json!(10)), target(IP, &json!(weight))])
    }

    #[test]
    fn a_pod_is_detached_when_it_has_weight_0_in_each_listener_and_each_rule_of_the_port() {
        assert_eq!(standing(&[listener("TCP", 80, &pool(0))]), Ok(Standing::Detached));
        assert_eq!(standing(&[web(&[&pool(0), &pool(0)])]), Ok(Standing::Detached));
        for attached in [
            vec![listener("TCP", 80, &pool(10))],
            vec![listener("TCP_SSL", 80, &pool(1))],
            vec![listener("TCP", 80, &json!([target(IP, &json!(0)), target(IP, &json!(5))]))],
            vec![listener("TCP", 80, &pool(0)), web(&[&pool(0), &pool(10)])],
        ] {
            let standing = standing(&attached);
            assert!(matches!(standing, Ok(Standing::Attached { .. })), "{standing:?}");
        }
    }

    #[test]
    fn other_ports_and_protocols_do_not_count_and_a_range_of_ports_does() {
        let mut others = vec![
            listener("UDP", 80, &pool(10)),
            listener("QUIC", 80, &pool(10)),
            listener("TCP", 443, &pool(10)),
        ];
        let doubt = standing(&others).unwrap_err();
        assert_eq!(doubt, Doubt::NoListener { port: 80, transport: Transport::Tcp });
        let mut range = listener("TCP", 79, &pool(0));
        range["EndPort"] = json!(81);
        others.push(range);
        assert_eq!(standing(&others), Ok(Standing::Detached));
    }

    #[test]
    fn a_pod_that_is_missing_without_weight_or_behind_a_target_group_is_in_doubt() {
        let away = json!([target("10.0.0.6", &json!(0)), target("10.0.0.71", &json!(0))]);
        for (listeners, said) in [
            (vec![], "no listener on port 80/TCP"),
            (vec![listener("TCP", 80, &away)], "10.0.0.7 is not among the backends of listener lbl-1"),
            (vec![web(&[&pool(0), &away])], "listener lbl-2 rule loc-1"),
            (vec![web(&[&pool(0), &Value::Null])], "is not among"),
            (vec![listener("TCP", 80, &Value::Null)], "shows no backends"),
            (vec![listener("TCP", 80, &json!([]))], "shows no backends"),
            (vec![listener("TCP", 80, &json!([target(IP, &Value::Null)]))], "without a weight"),
        ] {
            let doubt = standing(&listeners).unwrap_err().to_string();
            assert!(doubt.contains(said), "{said}: {doubt}");
        }
    }

    #[test]
    fn what_is_not_a_whole_answer_is_none() {
        let good = answered(&[listener("TCP", 80, &pool(0))]).to_string();
        for end in 0..good.len() {
            assert!(parse(&good.as_bytes()[..end]).is_err(), "{}", &good[..end]);
        }
        for text in [
            "{}",
            r#"{"Response":{}}"#,
            r#"{"Response":{"Listeners":null}}"#,
            r#"{"Response":{"Listeners":[{}]}}"#,
            r#"{"Response":{"Listeners":[],"Error":{"Code":"InternalError","Message":""}}}"#,
            &good.replace("\"TCP\"", "\"SCTP\""),
            &good.replace("\"Weight\":0", "\"Weight\":-1"),
            &good.replace("\"Weight\":0", "\"Weight\":0,\"Weight\":0"),
            &format!("{good} {good}"),
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn only_weight_0_in_every_place_is_detached(weights in prop::collection::vec(prop::option::of(0_u32..3), 1..5)) {
            let pools: Vec<_> = weights.iter().map(|weight| match weight {
                Some(weight) => pool(*weight),
                None => json!([target("10.0.0.6", &json!(0))]),
            }).collect();
            let rules: Vec<_> = pools.iter().collect();
            let detached = standing(&[web(&rules)]) == Ok(Standing::Detached);
            prop_assert_eq!(detached, weights.iter().all(|weight| *weight == Some(0)));
        }
    }
}
