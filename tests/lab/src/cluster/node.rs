//! The node: its network, its container runtime, its images.

use std::{fs, path::Path};

use tokio::process::Command;

use super::{NODE_ADDRESS, parts::SERVICES};
use crate::{
    error::{AtPath, LabError},
    images::Image,
    process::run,
};

/// The bridge that the pods are on, as the CNI plugin knows it.
pub(super) const BRIDGE: &str = "cni0";

/// The addresses of the pods.
pub(super) const PODS: &str = "10.244.0.0/24";

pub(super) const CONTAINERD_SOCKET: &str = "/run/lab/containerd.sock";

/// Where the kubelet's images and containers are.
pub(super) const CONTAINERD_NAMESPACE: &str = "k8s.io";

/// Makes the bridge, before the API server starts: it advertises the bridge's address.
pub(super) async fn prepare() -> Result<(), LabError> {
    let address = format!("{NODE_ADDRESS}/24");
    for args in [
        &["link", "add", BRIDGE, "type", "bridge"][..],
        &["address", "add", &address, "dev", BRIDGE],
        &["link", "set", BRIDGE, "up"],
        // A client on the node needs a route before kube-proxy's rules send it elsewhere.
        &["route", "add", SERVICES, "dev", BRIDGE],
    ] {
        run(Command::new("ip").args(args)).await?;
    }
    setting("/proc/sys/net/ipv4/ip_forward")?;
    // Pods on one bridge reach each other through a Service only if iptables sees the bridge's packets. Absent where the
    // kernel does so without asking.
    let bridged = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if Path::new(bridged).exists() { setting(bridged) } else { Ok(()) }
}

fn setting(path: &str) -> Result<(), LabError> {
    fs::write(path, "1").at(path)
}

pub(super) async fn containerd_is_ready() -> bool {
    run(ctr().arg("version")).await.is_ok()
}

/// Makes an image known to the node.
pub(super) async fn import(image: Image) -> Result<(), LabError> {
    let mut command = ctr();
    command.args(["images", "import", "--base-name", &image.full_name()]).arg(image.archive());
    run(&mut command).await.map(drop)
}

fn ctr() -> Command {
    let mut command = Command::new("ctr");
    command.args(["--address", CONTAINERD_SOCKET, "--namespace", CONTAINERD_NAMESPACE]);
    command
}
