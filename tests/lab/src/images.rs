//! What is in each image, and how it is made: buildah, from nothing, into an archive under `target/lab/images`.

mod recipe;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use crate::{
    build::{self, Program, Programs},
    error::{AtPath as _, LabError},
    paths,
    process::run,
    progress::Progress,
    sandbox::Need,
};
use recipe::Kitchen;

/// The prefix that containerd and the kubelet put before a name without a registry.
const REGISTRY: &str = "docker.io";

/// An image of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// As in a pod's spec, without the tag.
    pub name: &'static str,
    /// The tag; `/version` of the applications answers with it.
    pub tag: &'static str,
    content: Content,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Pause,
    /// nginx as process 1.
    Nginx,
    /// nginx under `lab-app`, with the settings that make it misbehave.
    App(&'static [(&'static str, &'static str)]),
    Redis,
    Mosquitto,
    Haproxy,
    Operator,
}

/// The image of the process that holds a pod's namespaces.
pub const PAUSE: Image = Image { name: "lab/pause", tag: "v1", content: Content::Pause };

const fn nginx(tag: &'static str) -> Image {
    Image { name: "lab/nginx", tag, content: Content::Nginx }
}

const fn app(tag: &'static str, env: &'static [(&'static str, &'static str)]) -> Image {
    Image { name: "lab/app", tag, content: Content::App(env) }
}

const fn redis(tag: &'static str) -> Image {
    Image { name: "lab/redis", tag, content: Content::Redis }
}

const fn mosquitto(tag: &'static str) -> Image {
    Image { name: "lab/mosquitto", tag, content: Content::Mosquitto }
}

const fn haproxy(tag: &'static str) -> Image {
    Image { name: "lab/haproxy", tag, content: Content::Haproxy }
}

const APPLICATIONS: [Image; 15] = [
    PAUSE,
    nginx("v1"),
    nginx("v2"),
    app("v1", &[]),
    app("v2", &[]),
    app("never-ready", &[("NEVER_READY", "1")]),
    app("flaky", &[("CRASH_HOSTS", "nginx-0"), ("CRASH_AFTER", "10")]),
    app("deaf-v1", &[("DEAF", "1")]),
    app("deaf-v2", &[("DEAF", "1")]),
    redis("v1"),
    redis("v2"),
    mosquitto("v1"),
    mosquitto("v2"),
    haproxy("v1"),
    haproxy("v2"),
];

const OPERATOR: Image = Image { name: "lossless-upgrade", tag: "lab", content: Content::Operator };

/// The images that a run needs.
pub fn needed(need: Need) -> impl Iterator<Item = Image> {
    let operator = match need {
        Need::Cluster => None,
        Need::Operator | Need::Helm => Some(OPERATOR),
    };
    APPLICATIONS.into_iter().chain(operator)
}

impl Image {
    /// As a pod's spec names it.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("{}:{}", self.name, self.tag)
    }

    /// The name containerd knows it by, without the tag.
    pub(crate) fn full_name(&self) -> String {
        // Docker Hub's own namespace, which is put before a name of one part.
        let library = if self.name.contains('/') { "" } else { "library/" };
        format!("{REGISTRY}/{library}{}", self.name)
    }

    /// The archive it is kept in.
    pub(crate) fn archive(&self) -> PathBuf {
        paths::images().join(self.reference().replace(['/', ':'], "_") + ".tar")
    }
}

/// The programs of this workspace that are in those images.
pub(crate) const fn programs(need: Need) -> &'static [Program] {
    match need {
        Need::Cluster => &[Program::Pause, Program::App],
        Need::Operator | Need::Helm => &[Program::Pause, Program::App, Program::Operator],
    }
}

/// Makes the archives that a run needs, but those that are there and made from nothing that has changed. Needs no
/// network. buildah leaves its traces in `/var/lib`, so this belongs inside the sandbox.
pub(crate) async fn build(need: Need, programs: &Programs, progress: &Progress) -> Result<(), LabError> {
    fs::create_dir_all(paths::images()).at(paths::images())?;
    let kitchen = Kitchen::find(programs).await?;
    for image in needed(need) {
        let recipe = kitchen.recipe(image)?;
        let wanted = recipe.stamp()?;
        let archive = image.archive();
        let stamp = archive.with_extension("stamp");
        if archive.exists() && build::is_current(&stamp, &wanted) {
            continue;
        }
        let step = progress.step(format!("image {}", image.reference()));
        let context = paths::scratch().join("image");
        for old in [&context, &archive] {
            remove(old).at(old)?;
        }
        recipe.lay_out(&context)?;
        buildah(&context, &format!("oci-archive:{}:{}", archive.display(), image.tag)).await?;
        build::stamp(&stamp, &wanted)?;
        step.done();
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    }
}

/// Layers are kept and carry no time of their own, so that images that share a layer share it in containerd too.
async fn buildah(context: &Path, destination: &str) -> Result<(), LabError> {
    let scratch = paths::scratch();
    let mut command = Command::new("buildah");
    command
        .arg("--root")
        .arg(scratch.join("storage"))
        .arg("--runroot")
        .arg(scratch.join("storage-run"))
        .args(["--storage-driver", "vfs", "build", "--quiet", "--isolation", "chroot"])
        .args(["--layers", "--timestamp", "0", "--format", "oci"])
        .arg("--signature-policy")
        .arg(context.join("policy.json"))
        .arg("--file")
        .arg(context.join("Containerfile"))
        .args(["--tag", destination])
        .arg(context)
        .env("TMPDIR", &scratch);
    run(&mut command).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_containerd_looks_for() {
        assert_eq!(PAUSE.full_name(), "docker.io/lab/pause");
        assert_eq!(OPERATOR.full_name(), "docker.io/library/lossless-upgrade");
        assert_eq!(OPERATOR.reference(), "lossless-upgrade:lab");
    }

    #[test]
    fn only_a_run_that_needs_the_operator_builds_it() {
        assert!(needed(Need::Cluster).all(|image| image != OPERATOR));
        assert!(needed(Need::Operator).any(|image| image == OPERATOR));
    }
}
