//! Mounts of the sandbox: a `/proc` for its processes, and memory over the folders that the components write to.

use std::{fs, fs::File, os::fd::AsRawFd, path::Path};

use nix::mount::{MsFlags, mount};

use crate::{
    error::{AtPath, InCall, LabError},
    paths,
};

/// Folders that containerd, the kubelet, the CNI plugins and iptables write to wherever they are told to keep their data.
const COVERED: [&str; 3] = ["/run", "/var/lib", "/var/log"];

const NOTHING: Option<&str> = None;

/// Stops mounts from travelling between the sandbox and the machine, and shows only the sandbox's processes.
pub(super) fn keep_to_ourselves() -> Result<(), LabError> {
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING)
        .in_call("mount --make-rprivate /")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, NOTHING).in_call("mount proc")
}

/// Lays memory over the folders that the components write to. A workspace below one of them stays where it is.
pub(super) fn cover() -> Result<(), LabError> {
    let workspace = paths::workspace();
    // Held open, it can be mounted again from its descriptor after its path has vanished.
    let held = File::open(&workspace).at(&workspace)?;
    for folder in COVERED {
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some("mode=755"))
            .in_call(format!("mount tmpfs {folder}"))?;
        // `/var/run` and the like lead to a covered folder too, so the path as it is now decides.
        if fs::canonicalize(&workspace).is_err() {
            fs::create_dir_all(&workspace).at(&workspace)?;
            let source = format!("/proc/self/fd/{}", held.as_raw_fd());
            mount(Some(Path::new(&source)), &workspace, NOTHING, MsFlags::MS_BIND | MsFlags::MS_REC, NOTHING)
                .in_call(format!("mount --bind {}", workspace.display()))?;
        }
    }
    fs::create_dir_all(paths::RUN).at(paths::RUN)
}
