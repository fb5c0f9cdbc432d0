//! Says in one line what this machine lacks, before anything is begun.

use std::path::Path;

use crate::paths;

/// Programs the lab takes from the system, with the Debian package of each.
const PROGRAMS: [(&str, &str); 14] = [
    ("buildah", "buildah"),
    ("containerd", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("ctr", "containerd"),
    ("haproxy", "haproxy"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("ldd", "libc-bin"),
    ("mosquitto", "mosquitto"),
    ("nginx", "nginx-light"),
    ("redis-cli", "redis-tools"),
    ("redis-server", "redis-server"),
    ("runc", "runc"),
    ("strip", "binutils"),
];

/// Where Debian's package `containernetworking-plugins` puts them.
pub(crate) const CNI_PLUGINS: &str = "/usr/lib/cni";

/// What this machine lacks. The text is one line: what is missing and how to get it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The lab runs a kubelet and makes namespaces.
    #[error(
        "the lab needs root (it runs a kubelet and makes namespaces): run the same command with `sudo -E`"
    )]
    Root,
    /// The kernel does not let this root make namespaces, as in an ordinary container.
    #[error("this root may not make namespaces ({0}): run outside of a container, or in a privileged one")]
    Namespaces(nix::Error),
    /// Kubernetes and etcd are built from their Go modules.
    #[error(
        "no Go here (the lab builds Kubernetes and etcd from source): install Go 1.26 or later and put it on PATH"
    )]
    Go,
    /// Debian packages.
    #[error("programs are missing: apt-get install -y --no-install-recommends {}", .0.join(" "))]
    Packages(Vec<&'static str>),
}

/// Looks for everything the lab needs from the machine.
///
/// # Errors
/// The first kind of thing that is missing; packages all at once.
pub fn check() -> Result<(), Missing> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Missing::Root);
    }
    if paths::find_program("go").is_none() {
        return Err(Missing::Go);
    }
    let packages = missing_packages(
        |program| paths::find_program(program).is_some(),
        Path::new(CNI_PLUGINS).join("bridge").exists(),
    );
    if packages.is_empty() { Ok(()) } else { Err(Missing::Packages(packages)) }
}

fn missing_packages(has: impl Fn(&str) -> bool, has_cni: bool) -> Vec<&'static str> {
    let mut packages: Vec<_> =
        PROGRAMS.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    if !has_cni {
        packages.push("containernetworking-plugins");
    }
    packages.sort_unstable();
    packages.dedup();
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_package_is_named_once_in_one_line_that_can_be_pasted() {
        let packages =
            missing_packages(|program| !program.contains("containerd") && program != "nginx", false);
        let line = Missing::Packages(packages).to_string();
        assert_eq!(
            line,
            "programs are missing: apt-get install -y --no-install-recommends \
             containerd containernetworking-plugins nginx-light"
        );
    }

    #[test]
    fn a_machine_that_has_all_misses_nothing() {
        assert!(missing_packages(|_| true, true).is_empty());
    }

    #[test]
    fn each_message_is_one_line() {
        for missing in [Missing::Root, Missing::Go, Missing::Namespaces(nix::Error::EPERM)] {
            assert_eq!(missing.to_string().lines().count(), 1);
        }
    }
}
