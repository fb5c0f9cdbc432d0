//! What is in each image, and how it is made: buildah, from nothing, into an archive under `target/lab/images`.

use std::{
    fmt::Write as _,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use crate::{
    build::{self, Program, Programs},
    error::{AtPath, LabError},
    paths,
    process::run,
    progress::Progress,
    sandbox::Need,
};

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

const APPLICATIONS: [Image; 9] = [
    PAUSE,
    nginx("v1"),
    nginx("v2"),
    app("v1", &[]),
    app("v2", &[]),
    app("never-ready", &[("NEVER_READY", "1")]),
    app("flaky", &[("CRASH_HOSTS", "nginx-0"), ("CRASH_AFTER", "10")]),
    app("deaf-v1", &[("DEAF", "1")]),
    app("deaf-v2", &[("DEAF", "1")]),
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

/// What goes into an image: files by their path in it, in layers that images share, and the end of its Containerfile.
struct Recipe {
    layers: Vec<Vec<(String, Source)>>,
    settings: String,
}

enum Source {
    /// A file of this machine.
    File(PathBuf),
    Text(String),
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
    let nginx = Nginx::find().await?;
    for image in needed(need) {
        let recipe = recipe(image, programs, &nginx)?;
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

fn recipe(image: Image, programs: &Programs, nginx: &Nginx) -> Result<Recipe, LabError> {
    let program =
        |name: &str, program| Ok::<_, LabError>(vec![(name.into(), Source::File(programs.path(program)?))]);
    Ok(match image.content {
        Content::Pause => Recipe {
            layers: vec![program("pause", Program::Pause)?],
            settings: "ENTRYPOINT [\"/pause\"]\n".into(),
        },
        Content::Nginx => Recipe {
            layers: vec![nginx.files(), site(image.tag)],
            // As in nginx's own image: SIGQUIT lets requests end, SIGTERM does not.
            settings: "STOPSIGNAL SIGQUIT\nENTRYPOINT [\"/usr/sbin/nginx\"]\n".into(),
        },
        Content::App(env) => {
            let mut settings =
                "STOPSIGNAL SIGQUIT\nENTRYPOINT [\"/lab-app\", \"/usr/sbin/nginx\"]\n".to_owned();
            for (name, value) in env {
                let _ = writeln!(settings, "ENV {name}={value}");
            }
            Recipe {
                layers: vec![nginx.files(), program("lab-app", Program::App)?, site(image.tag)],
                settings,
            }
        }
        // The last stage of the shipped Dockerfile; the program is built outside, without LTO.
        Content::Operator => Recipe {
            layers: vec![program("lossless-upgrade", Program::Operator)?],
            settings: "USER 65532:65532\nENTRYPOINT [\"/lossless-upgrade\"]\n".into(),
        },
    })
}

/// Debian's nginx and the libraries it is linked with, as they are on this machine.
struct Nginx {
    program: PathBuf,
    libraries: Vec<PathBuf>,
}

impl Nginx {
    async fn find() -> Result<Self, LabError> {
        let program = paths::find_program("nginx")
            .ok_or_else(|| io::Error::other("not found; install nginx-light"))
            .at("nginx")?;
        let linked = run(Command::new("ldd").arg(&program)).await?;
        Ok(Self { libraries: libraries(&linked).map(PathBuf::from).collect(), program })
    }

    fn files(&self) -> Vec<(String, Source)> {
        let text = |path: &str, text: &str| (path.to_owned(), Source::Text(text.to_owned()));
        let mut files = vec![
            ("usr/sbin/nginx".to_owned(), Source::File(self.program.clone())),
            text("etc/nginx/nginx.conf", include_str!("images/nginx.conf")),
            text("etc/passwd", "root:x:0:0:root:/:/\n"),
            text("etc/group", "root:x:0:\n"),
            // Folders that nginx does not make by itself.
            text("var/lib/nginx/.keep", ""),
            text("var/log/nginx/.keep", ""),
            text("run/.keep", ""),
            text("tmp/.keep", ""),
        ];
        files.extend(self.libraries.iter().map(|library| {
            (library.display().to_string().trim_start_matches('/').to_owned(), Source::File(library.clone()))
        }));
        files
    }
}

/// The files that `ldd` names: `libz.so.1 => /lib/libz.so.1 (0x..)` or, for the loader, the path alone.
fn libraries(ldd: &str) -> impl Iterator<Item = &str> {
    ldd.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
}

fn site(version: &str) -> Vec<(String, Source)> {
    let page = |name: &str, text: String| (format!("site/{name}"), Source::Text(text));
    let header = format!("add_header X-Version {version} always;\n");
    vec![
        ("etc/nginx/version.conf".into(), Source::Text(header)),
        page("index.html", format!("hello from {version}\n")),
        page("version", format!("{version}\n")),
        page("8kB", "0123456789abcde\n".repeat(8 * 64)),
        page("13kB", "0123456789abcde\n".repeat(13 * 64)),
    ]
}

impl Recipe {
    fn containerfile(&self) -> String {
        let mut text = "FROM scratch\n".to_owned();
        for layer in 0..self.layers.len() {
            let _ = writeln!(text, "COPY layer-{layer} /");
        }
        text + &self.settings
    }

    /// All that the image is made from, as text: of files their size and time.
    fn stamp(&self) -> Result<String, LabError> {
        let mut stamp = self.containerfile();
        for (path, source) in self.layers.iter().flatten() {
            match source {
                Source::Text(text) => {
                    let _ = write!(stamp, "{path}:\n{text}");
                }
                Source::File(file) => {
                    let found = fs::metadata(file).at(file)?;
                    let (bytes, seconds, nanos) = (found.len(), found.mtime(), found.mtime_nsec());
                    let _ = writeln!(stamp, "{path}: {bytes} bytes, {seconds}.{nanos:09}");
                }
            }
        }
        Ok(stamp)
    }

    /// Writes the folder that buildah builds from.
    fn lay_out(&self, context: &Path) -> Result<(), LabError> {
        for (number, layer) in self.layers.iter().enumerate() {
            let root = context.join(format!("layer-{number}"));
            for (path, source) in layer {
                let target = root.join(path);
                let folder = target.parent().unwrap_or(&root);
                fs::create_dir_all(folder).at(folder)?;
                match source {
                    Source::Text(text) => fs::write(&target, text).at(&target)?,
                    // Follows links: libraries are found by the names of their links.
                    Source::File(file) => fs::copy(file, &target).map(drop).at(file)?,
                }
            }
        }
        fs::write(context.join("Containerfile"), self.containerfile()).at(context)?;
        // Nothing is pulled, so nothing has to be trusted.
        fs::write(context.join("policy.json"), r#"{"default":[{"type":"insecureAcceptAnything"}]}"#)
            .at(context)
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
    fn the_libraries_are_those_that_have_a_path() {
        let ldd = "\tlinux-vdso.so.1 (0x00007f)\n\tlibz.so.1 => /lib/libz.so.1 (0x00007f)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let found: Vec<_> = libraries(ldd).collect();
        assert_eq!(found, ["/lib/libz.so.1", "/lib64/ld-linux-x86-64.so.2"]);
    }

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
