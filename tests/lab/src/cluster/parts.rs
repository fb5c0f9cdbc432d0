//! The components and their command lines.

use tokio::process::Command;

use super::{NODE, NODE_ADDRESS, files, node};
use crate::{
    paths,
    paths::{RUN, go_programs},
};

/// Pods and Services get addresses from these ranges; both end at the sandbox.
pub(super) const SERVICES: &str = "10.96.0.0/16";

const ETCD: &str = "http://127.0.0.1:2379";

/// A component of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Store of the API server.
    Etcd,
    /// API server, with the audit log of writes.
    ApiServer,
    /// The controllers of Kubernetes, that of the StatefulSets among them.
    ControllerManager,
    /// Scheduler.
    Scheduler,
    /// Container runtime.
    Containerd,
    /// Runs the pods of the node.
    Kubelet,
    /// The Services' addresses, by iptables.
    KubeProxy,
}

/// Who may talk to the API server.
#[derive(Debug, Clone, Copy)]
pub(super) enum User {
    Admin,
    ControllerManager,
    Scheduler,
    Kubelet,
    KubeProxy,
    Confined,
}

impl User {
    pub(super) const ALL: [Self; 6] = [
        Self::Admin,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kubelet,
        Self::KubeProxy,
        Self::Confined,
    ];

    pub(super) const fn short_name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::ControllerManager => "controller-manager",
            Self::Scheduler => "scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "proxy",
            Self::Confined => "confined",
        }
    }

    fn kubeconfig(self) -> String {
        format!("{RUN}/{}", self.kubeconfig_name())
    }
}

impl Part {
    /// The program, which also names the log.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
        }
    }

    /// How it is started.
    pub(super) fn command(self) -> Command {
        let program = match self {
            Self::Etcd => go_programs("etcd").join(self.program()),
            // From the system.
            Self::Containerd => self.program().into(),
            Self::ApiServer | Self::ControllerManager | Self::Scheduler | Self::Kubelet | Self::KubeProxy => {
                go_programs("kubernetes").join(self.program())
            }
        };
        let mut command = Command::new(program);
        command.args(self.arguments());
        command
    }

    fn arguments(self) -> Vec<String> {
        let args: Vec<(&str, String)> = match self {
            Self::Etcd => vec![
                ("data-dir", format!("{RUN}/etcd")),
                ("listen-client-urls", ETCD.into()),
                ("advertise-client-urls", ETCD.into()),
                ("listen-peer-urls", "http://127.0.0.1:2380".into()),
                // The data is gone after the run in any case.
                ("unsafe-no-fsync", "true".into()),
            ],
            Self::Containerd => return vec!["--config".into(), format!("{RUN}/containerd.toml")],
            Self::ApiServer => api_server(),
            Self::ControllerManager => vec![
                ("kubeconfig", User::ControllerManager.kubeconfig()),
                ("root-ca-file", format!("{RUN}/ca.crt")),
                ("service-account-private-key-file", format!("{RUN}/service-accounts.key")),
                // Each controller is a user of its own in the audit log.
                ("use-service-account-credentials", "true".into()),
                // With the usual 20 a second it takes 6 s until all controllers are there.
                ("kube-api-qps", "200".into()),
                ("kube-api-burst", "300".into()),
                ("leader-elect", "false".into()),
            ],
            Self::Scheduler => {
                vec![("kubeconfig", User::Scheduler.kubeconfig()), ("leader-elect", "false".into())]
            }
            Self::Kubelet => vec![
                ("config", format!("{RUN}/kubelet.json")),
                ("kubeconfig", User::Kubelet.kubeconfig()),
                ("root-dir", files::kubelet_root()),
                ("cert-dir", format!("{RUN}/kubelet/pki")),
                ("hostname-override", NODE.into()),
                ("node-ip", NODE_ADDRESS.into()),
            ],
            Self::KubeProxy => vec![
                ("kubeconfig", User::KubeProxy.kubeconfig()),
                ("hostname-override", NODE.into()),
                ("proxy-mode", "iptables".into()),
                ("cluster-cidr", node::PODS.into()),
                ("oom-score-adj", "0".into()),
                // 0 leaves the kernel's values: writing them may be refused.
                ("conntrack-max-per-core", "0".into()),
                ("conntrack-min", "0".into()),
                ("conntrack-tcp-timeout-established", "0".into()),
                ("conntrack-tcp-timeout-close-wait", "0".into()),
            ],
        };
        args.into_iter().map(|(name, value)| format!("--{name}={value}")).collect()
    }
}

fn api_server() -> Vec<(&'static str, String)> {
    vec![
        ("etcd-servers", ETCD.into()),
        // The `kubernetes` Service leads here, so pods reach it.
        ("advertise-address", NODE_ADDRESS.into()),
        ("service-cluster-ip-range", SERVICES.into()),
        ("allow-privileged", "true".into()),
        ("authorization-mode", "Node,RBAC".into()),
        ("token-auth-file", format!("{RUN}/tokens.csv")),
        ("tls-cert-file", format!("{RUN}/server.crt")),
        ("tls-private-key-file", format!("{RUN}/server.key")),
        ("cert-dir", format!("{RUN}/api-server")),
        ("service-account-issuer", "https://kubernetes.default.svc".into()),
        ("service-account-key-file", format!("{RUN}/service-accounts.pub")),
        ("service-account-signing-key-file", format!("{RUN}/service-accounts.key")),
        // Logs and exec need an address that this machine can reach.
        ("kubelet-preferred-address-types", "InternalIP".into()),
        ("audit-policy-file", format!("{RUN}/audit.json")),
        ("audit-log-path", paths::logs().join("audit.log").display().to_string()),
        // Megabytes. A log that began anew in mid-run would forget what was done.
        ("audit-log-maxsize", "10000".into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_components_keep_is_in_the_sandbox_and_only_the_audit_log_is_not() {
        for part in [Part::Etcd, Part::ApiServer, Part::ControllerManager, Part::Scheduler, Part::Kubelet] {
            for argument in part.arguments() {
                let path = argument.split_once("=/").map(|(_, path)| format!("/{path}"));
                if let Some(path) = path.filter(|_| !argument.starts_with("--audit-log-path")) {
                    assert!(path.starts_with(RUN), "{}: {argument}", part.program());
                }
            }
        }
    }
}
