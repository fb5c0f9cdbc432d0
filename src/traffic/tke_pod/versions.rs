//! From which versions on TKE's controllers read the weight of a pod, and where it stands which ones run.
//!
//! Source: TKE 457/128647 for what is needed; 457/51258 for the `ConfigMaps` that have the controllers' versions, such as
//! `v2.11.4`. What has another form is not known, and no proof against.

use std::fmt;

use crate::traffic::tencent::{POD_WEIGHT, POD_WEIGHT_OF_INGRESS};
use crate::traffic::{ByVersion, Problem, VersionOf, Warning};

/// A version of a controller. A later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// Three numbers, whatever follows them; none: it does not look like that.
    fn of(text: &str) -> Option<Self> {
        let mut numbers = text.trim().strip_prefix('v')?.splitn(3, '.');
        let (major, minor) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        let patch = numbers.next()?.split(|one: char| !one.is_ascii_digit()).next()?.parse().ok()?;
        Some(Self { major, minor, patch })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch } = self;
        write!(f, "v{major}.{minor}.{patch}")
    }
}

/// One of the two controllers that read weights of pods.
#[derive(Clone, Copy, Debug)]
struct Controller {
    name: &'static str,
    /// The ConfigMap that has its version.
    config: &'static str,
    /// What it reads.
    key: &'static str,
    /// The first one that does.
    needed: Version,
}

const SERVICE: Controller = Controller {
    name: "Service",
    config: "tke-service-controller-config",
    key: POD_WEIGHT,
    needed: Version { major: 2, minor: 4, patch: 0 },
};

const INGRESS: Controller = Controller {
    name: "Ingress",
    config: "tke-ingress-controller-config",
    key: POD_WEIGHT_OF_INGRESS,
    needed: Version { major: 2, minor: 6, patch: 0 },
};

impl Controller {
    const fn version(self) -> VersionOf {
        VersionOf::ConfigMap {
            namespace: "kube-system",
            name: self.config,
            key: "VERSION",
            right: "deploy/tke/rbac.yaml",
        }
    }

    /// Whether one of this version reads the weights. A warning where it is not known.
    fn judge(self, told: Result<&str, &str>) -> Result<Option<Warning>, Problem> {
        let Self { name: controller, config, key, needed } = self;
        let why = match told {
            Ok(text) => match Version::of(text) {
                Some(found) if found >= needed => return Ok(None),
                Some(_) => {
                    let (found, needed) = (text.trim().to_owned(), needed.to_string());
                    return Err(Problem::ControllerTooOld { controller, found, config, key, needed });
                }
                None => format!("`{text}` is none"),
            },
            Err(why) => why.to_owned(),
        };
        Ok(Some(Warning::ControllerUnknown { controller, why, config, key, needed: needed.to_string() }))
    }
}

/// The versions that weights of pods depend on.
pub(super) fn asked(behind_ingress: bool) -> Vec<ByVersion> {
    let service = ByVersion { of: SERVICE.version(), judge: |told| SERVICE.judge(told) };
    let ingress = ByVersion { of: INGRESS.version(), judge: |told| INGRESS.judge(told) };
    if behind_ingress { vec![service, ingress] } else { vec![service] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_that_reads_no_weights_of_pods_is_refused_with_what_is_needed_and_what_was_found() {
        for (controller, version, needed) in [
            (SERVICE, "v2.3.9", "v2.4.0"),
            (SERVICE, "v2.3.99-rc.1", "v2.4.0"),
            (SERVICE, "v1.11.4+tke", "v2.4.0"),
            (SERVICE, "v2.3.0.1", "v2.4.0"),
            (SERVICE, "v0.0.0\n", "v2.4.0"),
            (INGRESS, "v2.5.9", "v2.6.0"),
            (INGRESS, "v1.6.0", "v2.6.0"),
            // New enough for Services alone.
            (INGRESS, "v2.4.0", "v2.6.0"),
        ] {
            let problem = controller.judge(Ok(version)).unwrap_err().to_string();
            for told in
                [version.trim(), needed, controller.name, controller.config, controller.key, "Upgrade it"]
            {
                assert!(problem.contains(told), "{told} in {problem}");
            }
        }
    }

    #[test]
    fn the_first_version_that_reads_weights_of_pods_and_all_later_ones_are_let_through() {
        for (controller, version) in [
            (SERVICE, "v2.4.0"),
            (SERVICE, "v2.4.0-tke.1"),
            (SERVICE, "v2.4.1\n"),
            (SERVICE, "v2.11.4"),
            (SERVICE, "v2.11.4.2"),
            (SERVICE, "v3.0.0"),
            (INGRESS, "v2.6.0"),
            (INGRESS, "v2.10.0+x"),
            (INGRESS, "v10.0.0"),
        ] {
            assert_eq!(controller.judge(Ok(version)), Ok(None), "{version}");
        }
    }

    #[test]
    fn what_is_no_version_or_was_not_told_is_no_proof_against_a_controller() {
        for text in [
            "",
            "2.3.9",
            "latest",
            "v2",
            "v2.3",
            "v2.3.",
            "v2.x.1",
            "v2.3.rc1",
            "vv1.0.0",
            "v1.0.99999999999",
        ] {
            let told = SERVICE.judge(Ok(text));
            let Ok(Some(warning)) = &told else { panic!("{text}: {told:?}") };
            assert!(
                warning.to_string().contains(&format!("is not known: `{text}` is none. Look")),
                "{warning}"
            );
        }
        let told = INGRESS.judge(Err("no answer"));
        let Ok(Some(warning)) = &told else { panic!("{told:?}") };
        let look = "get configmap tke-ingress-controller-config -o jsonpath='{.data.VERSION}'";
        for said in ["Ingress controller", "from v2.6.0 on", "is not known: no answer. Look", look] {
            assert!(warning.to_string().contains(said), "{said} in {warning}");
        }
    }

    #[test]
    fn the_ingress_controller_counts_only_where_something_is_behind_an_ingress() {
        let of = |behind| asked(behind).iter().map(|asked| asked.of).collect::<Vec<_>>();
        assert_eq!(of(false), [SERVICE.version()]);
        assert_eq!(of(true), [SERVICE.version(), INGRESS.version()]);
        // Each is judged by its own need.
        let old = |behind| asked(behind).iter().filter(|asked| (asked.judge)(Ok("v2.5.0")).is_err()).count();
        assert_eq!((old(false), old(true)), (0, 1));
    }
}
