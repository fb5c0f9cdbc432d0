//! Configuration files of the components. JSON is YAML, so the structured ones are written as JSON.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{CONFINED, NODE, certificates, node, parts::User};
use crate::{
    error::{AtPath, LabError},
    images,
    paths::RUN,
    requirements::CNI_PLUGINS,
};

/// Writes everything that the components read, into the sandbox's own memory.
pub(super) fn write() -> Result<(), LabError> {
    let run = Path::new(RUN);
    for folder in ["cni", "kubelet"] {
        let folder = run.join(folder);
        fs::create_dir_all(&folder).at(&folder)?;
    }
    certificates::write(run)?;
    let tokens: String = User::ALL.iter().map(|user| user.token_line() + "\n").collect();
    let files = [
        ("tokens.csv", tokens),
        ("audit.json", audit_policy().to_string()),
        ("containerd.toml", containerd()),
        ("cni/10-lab.conflist", cni().to_string()),
        ("kubelet.json", kubelet().to_string()),
    ];
    let kubeconfigs = User::ALL.map(|user| (user.kubeconfig_name(), kubeconfig(user).to_string()));
    let all = files.map(|(name, text)| (name.to_owned(), text)).into_iter().chain(kubeconfigs);
    for (name, text) in all {
        let path = run.join(name);
        fs::write(&path, text).at(&path)?;
    }
    Ok(())
}

fn kubeconfig(user: User) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {
            "server": "https://127.0.0.1:6443",
            "certificate-authority": format!("{RUN}/ca.crt"),
        }}],
        "users": [{"name": "lab", "user": {"token": user.token()}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "current-context": "lab",
    })
}

/// The service accounts of these namespaces are operators under test, whose reads are of interest too.
const OPERATORS: [&str; 2] = ["lossless-upgrade-system", "chart"];

/// Every write, once it is answered, without its body; reads only of the operators, and of the one user like them.
fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "Metadata", "userGroups": OPERATORS.map(|name| format!("system:serviceaccounts:{name}"))},
            {"level": "Metadata", "users": [CONFINED]},
            {"level": "None", "verbs": ["get", "list", "watch"]},
            {"level": "Metadata"},
        ],
    })
}

fn containerd() -> String {
    let pause = images::PAUSE.reference();
    let socket = node::CONTAINERD_SOCKET;
    // `restrict_oom_score_adj`: without CAP_SYS_RESOURCE no pod starts otherwise. AppArmor's profiles and `/opt` belong
    // to the machine, not to the sandbox.
    format!(
        r#"version = 2
root = "{RUN}/containerd/root"
state = "{RUN}/containerd/state"
[grpc]
address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{RUN}/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = true
disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PLUGINS}"
conf_dir = "{RUN}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#
    )
}

fn cni() -> Value {
    json!({
        "cniVersion": "1.0.0",
        "name": "lab",
        "plugins": [
            {
                "type": "bridge",
                "bridge": node::BRIDGE,
                "isGateway": true,
                "ipMasq": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": node::PODS}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

/// Nobody but the sandbox reaches the kubelet, so it asks for no proof of who calls.
fn kubelet() -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": format!("unix://{}", node::CONTAINERD_SOCKET),
        "cgroupDriver": "cgroupfs",
        // The lab measures requests, not fairness, so pods need no hierarchy of cgroups.
        "cgroupsPerQOS": false,
        // Nobody asks for devices here. At its start the kubelet reads and writes a map of its container manager from
        // two goroutines while this is on, and now and then ends by that (seen with 1.34.4: `concurrent map read and
        // map write`, from `wipeResourceSlices`).
        "featureGates": {"DynamicResourceAllocation": false},
        "enforceNodeAllocatable": ["none"],
        "failSwapOn": false,
        "oomScoreAdj": 0,
        // A developer's disk is often nearly full. It is not the lab's business.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        // There is no cluster DNS, and the machine's resolver cannot be reached.
        "resolvConf": "",
        "volumePluginDir": format!("{RUN}/kubelet/plugins"),
    })
}

/// The kubelet's own folder.
pub(super) fn kubelet_root() -> String {
    format!("{RUN}/kubelet")
}

impl User {
    /// The file in [`RUN`] that holds this user's kubeconfig.
    pub(super) fn kubeconfig_name(self) -> String {
        format!("{}.kubeconfig", self.short_name())
    }

    /// Only the sandbox's own network reaches the API server, so a token need not be a secret.
    fn token(self) -> String {
        format!("lab-{}", self.short_name())
    }

    /// As `--token-auth-file` wants it: token, user, uid, groups.
    fn token_line(self) -> String {
        let (name, group) = match self {
            Self::Admin => ("lab-admin".to_owned(), "system:masters"),
            Self::ControllerManager => ("system:kube-controller-manager".to_owned(), ""),
            Self::Scheduler => ("system:kube-scheduler".to_owned(), ""),
            Self::Kubelet => (format!("system:node:{NODE}"), "system:nodes"),
            Self::KubeProxy => ("system:kube-proxy".to_owned(), ""),
            Self::Confined => (CONFINED.to_owned(), ""),
        };
        format!("{},{name},{name},{group}", self.token())
    }
}
