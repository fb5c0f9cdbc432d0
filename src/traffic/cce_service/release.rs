//! From which releases of CCE on the weights are read, and which release the cluster is.
//!
//! Source: Huawei's page `cce_10_1026` for what is needed. No page that was read says that the API server names the
//! release in its version; clusters that were written down do (`v1.25.3-r0-25.2.19`, and nodes with
//! `v1.19.16-r2-CCE22.5.1`), and nobody else has a number behind `-r`. So what has another form is not known, and no
//! proof against.

use std::fmt;

use super::WEIGHTS;
use crate::traffic::{Problem, Warning};

/// A release of CCE: a version of Kubernetes, and Huawei's own number behind it. A later one is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Release {
    major: u32,
    minor: u32,
    patch: u32,
    own: u32,
}

/// The first release of each line that reads the weights.
const NEEDED: [Release; 7] = [
    Release::new(29, 15, 60),
    Release::new(30, 14, 60),
    Release::new(31, 14, 20),
    Release::new(32, 9, 20),
    Release::new(33, 7, 20),
    Release::new(34, 3, 10),
    Release::new(35, 1, 0),
];

impl Release {
    const fn new(minor: u32, patch: u32, own: u32) -> Self {
        Self { major: 1, minor, patch, own }
    }

    /// Out of an API server's version; none: it does not look like one of CCE.
    fn of(version: &str) -> Option<Self> {
        let (kubernetes, own) = version.strip_prefix('v')?.split_once("-r")?;
        let own = own.split(['-', '+']).next()?.parse::<u32>().ok()?;
        let mut numbers = kubernetes.split('.').map(|number| number.parse::<u32>().ok());
        let release = Self { major: numbers.next()??, minor: numbers.next()??, patch: numbers.next()??, own };
        numbers.next().is_none().then_some(release)
    }

    /// A line that came after those that the page names has them too; one that was before them has not.
    fn reads_weights(self) -> bool {
        let line = |release: &Self| (release.major, release.minor);
        let first = NEEDED.iter().rev().find(|first| line(first) <= line(&self));
        first.is_some_and(|first| self >= *first)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, patch, own } = self;
        write!(f, "v{major}.{minor}.{patch}-r{own}")
    }
}

/// Whether a cluster of this version reads the weights. A warning where the version does not tell, or is not told.
pub(super) fn judge(told: Result<&str, &str>) -> Result<Option<Warning>, Problem> {
    let (key, needed) = (WEIGHTS, NEEDED.map(|first| first.to_string()).join(", "));
    let found = told.map_or_else(|why| format!("which it does not tell ({why})"), str::to_owned);
    match told.ok().and_then(Release::of) {
        Some(release) if release.reads_weights() => Ok(None),
        Some(_) => Err(Problem::ReleaseTooOld { found, key, needed }),
        None => Ok(Some(Warning::ReleaseUnknown { found, key, needed })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_that_reads_no_weights_is_refused_with_what_is_needed_and_what_was_found() {
        for version in [
            "v1.29.15-r59-29.0.1",
            "v1.29.14-r90",
            "v1.30.14-r50",
            "v1.31.14-r10",
            "v1.32.8-r40",
            "v1.33.7-r10",
            "v1.34.3-r0-34.0.5",
            "v1.35.0-r90",
            // Older than every line that has them.
            "v1.27.3-r0-27.0.10",
            "v1.17.9-r0-CCE20.7.1.B003-17.36.3",
        ] {
            let problem = judge(Ok(version)).unwrap_err().to_string();
            for told in [version, WEIGHTS, "v1.29.15-r60, v1.30.14-r60,", "v1.35.1-r0"] {
                assert!(problem.contains(told), "{told} in {problem}");
            }
        }
    }

    #[test]
    fn the_first_release_of_each_line_and_all_later_ones_are_let_through() {
        for version in [
            "v1.29.15-r60",
            "v1.29.15-r60-29.0.62",
            "v1.29.16-r0",
            "v1.30.14-r70-CCE30.1",
            "v1.31.14-r20",
            "v1.32.10-r0",
            "v1.33.7-r20",
            "v1.34.3-r10+x",
            "v1.35.1-r0",
            // Lines that came after the page was read.
            "v1.36.0-r0",
            "v2.0.0-r0",
        ] {
            assert_eq!(judge(Ok(version)), Ok(None), "{version}");
        }
    }

    #[test]
    fn a_version_that_names_no_release_of_cce_is_no_proof_against_it() {
        for version in [
            "v1.34.4",
            "v1.28.3-tke.5",
            "v1.29.1-aliyun.1",
            "v1.30.2-eks-1552ad0",
            "v1.25.3-rc.0",
            "v1.19.16-rke2r1",
            "v1.28.2+rke2r1",
            "v1.20.15-rancher2-2",
            "v1.27-r0",
            "v1.27.3.1-r0",
            "v1.x.3-r0",
            "1.27.3-r0",
            "v1.27.3-r",
            "",
        ] {
            let told = judge(Ok(version));
            let Ok(Some(warning)) = &told else { panic!("{version}: {told:?}") };
            assert!(warning.to_string().contains("names no release of Huawei CCE"), "{warning}");
        }
        let told = judge(Err("no answer"));
        let Ok(Some(warning)) = &told else { panic!("{told:?}") };
        assert!(
            warning.to_string().contains("version, which it does not tell (no answer), names"),
            "{warning}"
        );
    }
}
