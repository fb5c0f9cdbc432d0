//! Where the lab keeps things: what outlives a run under `target/lab`, everything else in memory.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Folder of everything that lives as long as the sandbox: a tmpfs that only the sandbox sees.
pub const RUN: &str = "/run/lab";

/// Folders of system programs that a `PATH` often lacks.
const SYSTEM_PROGRAMS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The folder of the whole workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_path_buf()
}

/// The folder of what the lab builds and keeps.
#[must_use]
pub fn cache() -> PathBuf {
    workspace().join("target/lab")
}

/// Logs of the components and the audit log, kept until the next run starts.
#[must_use]
pub fn logs() -> PathBuf {
    cache().join("run/logs")
}

/// Scratch space while building, emptied at both ends of a run.
#[must_use]
pub fn scratch() -> PathBuf {
    cache().join("tmp")
}

/// The image archives.
#[must_use]
pub fn images() -> PathBuf {
    cache().join("images")
}

/// The folder of the programs that were built from one Go module.
#[must_use]
pub fn go_programs(module: &str) -> PathBuf {
    cache().join("bin").join(module)
}

/// The `PATH` for every program that the lab starts: its own programs first, then the caller's, then the system's.
#[must_use]
pub fn search_path() -> OsString {
    let own = ["kubernetes", "etcd", "helm"].map(go_programs);
    let caller = env::var_os("PATH").unwrap_or_default();
    let all =
        own.into_iter().chain(env::split_paths(&caller)).chain(SYSTEM_PROGRAMS.iter().map(PathBuf::from));
    env::join_paths(all).unwrap_or(caller)
}

/// Where `program` is on [`search_path`].
#[must_use]
pub fn find_program(program: &str) -> Option<PathBuf> {
    env::split_paths(&search_path()).map(|dir| dir.join(program)).find(|path| path.is_file())
}
