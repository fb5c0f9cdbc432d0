//! The programs inside the images that are written in Rust, built from this workspace by cargo.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use tokio::process::Command;

use crate::{
    error::{AtPath, LabError},
    paths,
    process::{run, run_watched},
    progress::Progress,
};

/// The one target of the project: with [`STATIC`] its programs run in an image made from nothing.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const STATIC: &str = "-C target-feature=+crt-static";

/// A binary of this workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// Holds a pod's namespaces.
    Pause,
    /// Starts nginx in the images of applications that misbehave.
    App,
    /// The operator.
    Operator,
}

impl Program {
    const fn binary(self) -> &'static str {
        match self {
            Self::Pause => "lab-pause",
            Self::App => "lab-app",
            Self::Operator => "lossless-upgrade",
        }
    }
}

/// Where the built programs are.
#[derive(Debug, Default)]
pub(crate) struct Programs(Vec<(Program, PathBuf)>);

impl Programs {
    /// Builds them. Cargo knows whether there is something to do.
    pub(crate) async fn build(programs: &[Program], progress: &Progress) -> Result<Self, LabError> {
        cargo(programs, progress).await.map(Self)
    }

    /// Where `program` is.
    pub(crate) fn path(&self, program: Program) -> Result<PathBuf, LabError> {
        let found = self.0.iter().find(|(built, _)| *built == program).map(|(_, path)| path.clone());
        found.ok_or_else(|| io::Error::other("cargo names no executable")).at(program.binary())
    }
}

/// What cargo says of each thing it has built, as far as the lab reads it.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

/// Builds all of the workspace, as `make` does: one choice of targets is one choice of features, and so one build of the
/// dependencies for programs and tests.
async fn cargo(programs: &[Program], progress: &Progress) -> Result<Vec<(Program, PathBuf)>, LabError> {
    let step = progress.step("cargo build --workspace --all-targets");
    let mut command = Command::new("cargo");
    command
        .args(["build", "--message-format=json-render-diagnostics", "--workspace", "--all-targets"])
        .current_dir(paths::workspace())
        .env("CARGO_BUILD_TARGET", TARGET)
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", STATIC)
        // It would win over the line above and build everything once more.
        .env_remove("RUSTFLAGS");
    // A test that cargo has started has these of its own package; build scripts that watch them would run again.
    let of_caller = std::env::vars_os().map(|(name, _)| name).filter(|name| {
        name.to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
    });
    for name in of_caller {
        command.env_remove(name);
    }
    let messages = run_watched(&mut command, |line| step.update(line.trim())).await?;
    let executables = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Message>(line).ok()?.executable)
        .collect::<Vec<_>>();
    let mut built = Vec::new();
    for program in programs {
        let name = program.binary();
        if let Some(path) = executables.iter().find(|path| path.file_name().is_some_and(|file| file == name))
        {
            built.push((*program, keep(name, path).await?));
        }
    }
    step.done();
    Ok(built)
}

/// Keeps the program without what only a debugger reads. What has not changed is left alone, with its time: cargo links
/// a program anew for changes that do not reach it, and an image need not be made again for that.
async fn keep(name: &str, built: &Path) -> Result<PathBuf, LabError> {
    let folder = paths::cache().join("programs");
    fs::create_dir_all(&folder).at(&folder)?;
    let (kept, new) = (folder.join(name), paths::scratch().join(name));
    run(Command::new("strip").arg("-o").arg(&new).arg(built)).await?;
    if fs::read(&kept).ok() != Some(fs::read(&new).at(&new)?) {
        fs::rename(&new, &kept).at(&kept)?;
    }
    Ok(kept)
}
