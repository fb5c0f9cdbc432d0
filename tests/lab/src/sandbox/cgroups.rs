//! One cgroup of the lab's own at the top of each hierarchy (version 1, 2 or both), seen inside as the root.
//!
//! At the top, because that is where the next run looks for what a killed run left, whoever started either.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process, thread,
    time::Duration,
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tokio::time::Instant;

use crate::error::{AtPath, InCall, LabError};

const PREFIX: &str = "lossless-upgrade-lab.";

/// Killed processes leave their cgroup within milliseconds, many of them within a second.
const REMOVE_LIMIT: Duration = Duration::from_secs(5);

/// A mounted hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    mounted_at: PathBuf,
    version: Version,
}

#[derive(Debug, PartialEq, Eq)]
enum Version {
    /// With the options that name its controllers.
    One {
        options: String,
    },
    Two,
}

/// The lab's cgroup, in every hierarchy.
#[derive(Debug)]
pub(super) struct Group {
    name: String,
}

impl Group {
    /// Makes it. The name holds the id of this process, so that a later run can tell whether it is still in use.
    pub(super) fn make() -> Result<Self, LabError> {
        let name = format!("{PREFIX}{}", process::id());
        for hierarchy in hierarchies()? {
            let group = hierarchy.mounted_at.join(&name);
            fs::create_dir(&group).at(&group)?;
            // Version 1: a cpuset that names no CPU and no memory takes no process.
            for setting in ["cpuset.cpus", "cpuset.mems"] {
                let parent = hierarchy.mounted_at.join(setting);
                if hierarchy.version != Version::Two && parent.exists() {
                    let value = fs::read(&parent).at(&parent)?;
                    fs::write(group.join(setting), value).at(&group)?;
                }
            }
        }
        Ok(Self { name })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Removes it, once the last process has left it.
    pub(super) fn remove(self) -> Result<(), LabError> {
        hierarchies()?
            .iter()
            .try_for_each(|hierarchy| remove_when_empty(&hierarchy.mounted_at.join(&self.name)))
    }
}

/// Removes what killed runs left. Those of a lab that runs from another folder stay.
pub(super) fn sweep() -> Result<(), LabError> {
    for hierarchy in hierarchies()? {
        for entry in fs::read_dir(&hierarchy.mounted_at).at(&hierarchy.mounted_at)? {
            let group = entry.at(&hierarchy.mounted_at)?.path();
            let owner =
                group.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(PREFIX));
            if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
                remove_when_empty(&group)?;
            }
        }
    }
    Ok(())
}

/// Moves this process into the cgroup.
pub(super) fn join(name: &str) -> Result<(), LabError> {
    hierarchies()?.iter().try_for_each(|hierarchy| enter(&hierarchy.mounted_at.join(name)))
}

fn enter(group: &Path) -> Result<(), LabError> {
    // 0 means the writer.
    fs::write(group.join("cgroup.procs"), "0").at(group)
}

/// Mounts each hierarchy again in its place, after this process has entered a new cgroup namespace: what was the lab's
/// cgroup becomes the root. Needs a mount namespace of its own.
pub(super) fn mount_again() -> Result<(), LabError> {
    for Hierarchy { mounted_at, version } in hierarchies()? {
        umount2(&mounted_at, MntFlags::MNT_DETACH).in_call(format!("umount {}", mounted_at.display()))?;
        let (kind, options) = match &version {
            Version::One { options } => ("cgroup", Some(options.as_str())),
            Version::Two => ("cgroup2", None),
        };
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some(kind), &mounted_at, Some(kind), flags, options)
            .in_call(format!("mount {kind} {}", mounted_at.display()))?;
        if version == Version::Two {
            hand_out_controllers(&mounted_at)?;
        }
    }
    Ok(())
}

/// Version 2: only a cgroup without processes may hand controllers on, so this process steps aside first.
fn hand_out_controllers(root: &Path) -> Result<(), LabError> {
    let controllers = fs::read_to_string(root.join("cgroup.controllers")).at(root)?;
    if controllers.trim().is_empty() {
        return Ok(());
    }
    let aside = root.join("supervisor");
    fs::create_dir(&aside).at(&aside)?;
    enter(&aside)?;
    let all: Vec<_> = controllers.split_whitespace().map(|controller| format!("+{controller}")).collect();
    fs::write(root.join("cgroup.subtree_control"), all.join(" ")).at(root)
}

fn remove_when_empty(group: &Path) -> Result<(), LabError> {
    let start = Instant::now();
    loop {
        match remove_tree(group) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && start.elapsed() < REMOVE_LIMIT => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => return result.at(group),
        }
    }
}

/// A cgroup is removed by `rmdir` alone, children first; its files cannot be removed.
fn remove_tree(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

fn hierarchies() -> Result<Vec<Hierarchy>, LabError> {
    let path = "/proc/self/mountinfo";
    Ok(parse(&fs::read_to_string(path).at(path)?))
}

/// Reads `mountinfo` as proc(5) has it: the fifth field is the mount point; after a lone `-` come the type, the source
/// and the options of the file system.
fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (mount, file_system) = line.split_once(" - ")?;
            let mounted_at = PathBuf::from(mount.split(' ').nth(4)?);
            let mut fields = file_system.split(' ');
            let version = match (fields.next()?, fields.nth(1)?) {
                ("cgroup", options) => Version::One { options: controllers(options) },
                ("cgroup2", _) => Version::Two,
                _ => return None,
            };
            Some(Hierarchy { mounted_at, version })
        })
        .collect()
}

/// Drops what a mount in another cgroup namespace must not repeat.
fn controllers(options: &str) -> String {
    let kept = options.split(',').filter(|option| {
        !matches!(*option, "rw" | "ro" | "clone_children") && !option.starts_with("release_agent")
    });
    kept.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found_with_the_options_that_name_the_controllers() {
        let mountinfo = "\
30 24 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/lib/systemd/agent,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
";
        let one = |mounted_at: &str, options: &str| Hierarchy {
            mounted_at: mounted_at.into(),
            version: Version::One { options: options.into() },
        };
        assert_eq!(
            parse(mountinfo),
            [
                Hierarchy { mounted_at: "/sys/fs/cgroup/unified".into(), version: Version::Two },
                one("/sys/fs/cgroup/systemd", "xattr,name=systemd"),
                one("/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct"),
            ]
        );
    }
}
