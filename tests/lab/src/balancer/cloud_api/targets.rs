//! The listeners of a balancer with their backends, in the form of Tencent's API.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::balancer::{Backend, Listener};

/// The weight of a backend of which nobody said anything.
pub(super) const UNWEIGHED: u16 = 10;

/// The listeners that the lab's balancer has. Where there is one for TCP alone there is one for UDP with the same number
/// too, as of another Service that shares the load balancer and goes on sending whatever happens to ours.
pub(super) fn listeners(backends: &[Backend]) -> Vec<Value> {
    let ours: BTreeSet<Listener> = backends.iter().map(|backend| backend.listener).collect();
    let targets = |of: Listener, weight: fn(&Backend) -> u16| -> Vec<Value> {
        let its = backends.iter().filter(|backend| backend.listener == of);
        its.map(|backend| target(backend, weight(backend))).collect()
    };
    let foreign = |of: Listener| {
        let other = Listener::udp(of.port);
        (!ours.contains(&other)).then(|| shown(other, &targets(of, |_| UNWEIGHED)))
    };
    let of_each =
        |of: &Listener| foreign(*of).into_iter().chain([shown(*of, &targets(*of, |own| own.weight))]);
    ours.iter().flat_map(of_each).collect()
}

fn shown(listener: Listener, targets: &[Value]) -> Value {
    let Listener { port, transport } = listener;
    let protocol = transport.name();
    json!({
        "ListenerId": format!("lbl-{protocol}{port}"),
        "Protocol": protocol,
        "Port": port,
        "EndPort": null,
        "Rules": null,
        "Targets": targets,
    })
}

fn target(backend: &Backend, weight: u16) -> Value {
    json!({
        "Type": "ENI",
        "InstanceId": "",
        "Port": backend.address.port(),
        "Weight": weight,
        "PublicIpAddresses": null,
        "PrivateIpAddresses": [backend.address.ip()],
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::balancer::Owner;

    fn backend(listener: Listener, host: u8, weight: u16) -> Backend {
        Backend {
            owner: Owner::service("shop", "web"),
            listener,
            pod: format!("web-{host}"),
            uid: format!("uid-{host}"),
            address: SocketAddr::from(([10, 0, 0, host], 8080)),
            weight,
            sessions: 0,
        }
    }

    #[test]
    fn each_listener_has_the_weights_in_force_and_a_lonely_one_has_one_of_another_service_beside_it() {
        let (web, secure, quic) = (Listener::tcp(80), Listener::tcp(443), Listener::udp(443));
        let found = listeners(&[
            backend(web, 1, 0),
            backend(web, 2, 10),
            backend(secure, 1, 7),
            backend(quic, 1, 0),
            backend(Listener::udp(53), 2, 5),
        ]);
        let lines: Vec<_> = found
            .iter()
            .map(|listener| {
                let targets = listener["Targets"].as_array().unwrap().iter();
                let targets: Vec<_> = targets
                    .map(|target| format!("{}={}", target["PrivateIpAddresses"][0], target["Weight"]))
                    .collect();
                format!("{}/{} {}", listener["Protocol"], listener["Port"], targets.join(" "))
            })
            .collect();
        assert_eq!(
            lines.join("; ").replace('"', ""),
            "UDP/53 10.0.0.2=5; UDP/80 10.0.0.1=10 10.0.0.2=10; TCP/80 10.0.0.1=0 10.0.0.2=10; TCP/443 10.0.0.1=7; UDP/443 10.0.0.1=0"
        );
    }
}
