//! What the images are made from: programs of this workspace, and servers of Debian's packages with the libraries
//! they are linked with, as they are on this machine.

use std::{
    fmt::Write as _,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use super::{Content, Image};
use crate::{
    build::{Program, Programs},
    error::{AtPath as _, LabError},
    paths,
    process::run,
};

/// What goes into an image: files by their path in it, in layers that images share, and the end of its Containerfile.
pub(super) struct Recipe {
    layers: Vec<Vec<(String, Source)>>,
    settings: String,
}

enum Source {
    /// A file of this machine.
    File(PathBuf),
    Text(String),
}

/// All that recipes need.
pub(super) struct Kitchen<'a> {
    programs: &'a Programs,
    nginx: Packaged,
    redis: Packaged,
    redis_cli: Packaged,
    cat: Packaged,
    mosquitto: Packaged,
    haproxy: Packaged,
}

impl<'a> Kitchen<'a> {
    pub(super) async fn find(programs: &'a Programs) -> Result<Self, LabError> {
        Ok(Self {
            programs,
            nginx: Packaged::find("nginx", "nginx-light").await?,
            redis: Packaged::find("redis-server", "redis-server").await?,
            redis_cli: Packaged::find("redis-cli", "redis-tools").await?,
            cat: Packaged::find("cat", "coreutils").await?,
            mosquitto: Packaged::find("mosquitto", "mosquitto").await?,
            haproxy: Packaged::find("haproxy", "haproxy").await?,
        })
    }

    pub(super) fn recipe(&self, image: Image) -> Result<Recipe, LabError> {
        let program = |name: &str, program| {
            Ok::<_, LabError>(vec![(name.into(), Source::File(self.programs.path(program)?))])
        };
        Ok(match image.content {
            Content::Pause => Recipe {
                layers: vec![program("pause", Program::Pause)?],
                settings: "ENTRYPOINT [\"/pause\"]\n".into(),
            },
            Content::Nginx => Recipe {
                layers: vec![self.nginx(), site(image.tag)],
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
                    layers: vec![self.nginx(), program("lab-app", Program::App)?, site(image.tag)],
                    settings,
                }
            }
            Content::Redis => Recipe {
                layers: vec![
                    self.redis.files(&[]),
                    // What commands in its pods call.
                    self.redis_cli.files(&[]),
                    self.cat.files(&[]),
                    version(image.tag),
                ],
                // It keeps nothing, so that no pod depends on what another one had.
                settings:
                    "ENTRYPOINT [\"/usr/bin/redis-server\", \"--protected-mode\", \"no\", \"--save\", \"\"]\n"
                        .into(),
            },
            Content::Mosquitto => Recipe {
                layers: vec![
                    self.mosquitto.files(&[("etc/mosquitto.conf", include_str!("mosquitto.conf"))]),
                    version(image.tag),
                ],
                settings: "ENTRYPOINT [\"/usr/sbin/mosquitto\", \"-c\", \"/etc/mosquitto.conf\"]\n".into(),
            },
            Content::Haproxy => Recipe {
                layers: vec![
                    self.haproxy.files(&[("etc/haproxy.cfg", include_str!("haproxy.cfg"))]),
                    version(image.tag),
                ],
                // As in HAProxy's own image: SIGUSR1 lets requests end.
                settings: format!(
                    "STOPSIGNAL SIGUSR1\nENV VERSION={}\n\
                     ENTRYPOINT [\"/usr/sbin/haproxy\", \"-db\", \"-f\", \"/etc/haproxy.cfg\"]\n",
                    image.tag
                ),
            },
            // The last stage of the shipped Dockerfile; the program is built outside, without LTO.
            Content::Operator => Recipe {
                layers: vec![program("lossless-upgrade", Program::Operator)?],
                settings: "USER 65532:65532\nENTRYPOINT [\"/lossless-upgrade\"]\n".into(),
            },
        })
    }

    fn nginx(&self) -> Vec<(String, Source)> {
        self.nginx.files(&[
            ("etc/nginx/nginx.conf", include_str!("nginx.conf")),
            // Folders that nginx does not make by itself.
            ("var/lib/nginx/.keep", ""),
            ("var/log/nginx/.keep", ""),
        ])
    }
}

/// A server of one of Debian's packages and the libraries it is linked with.
struct Packaged {
    program: PathBuf,
    libraries: Vec<PathBuf>,
}

impl Packaged {
    async fn find(name: &str, package: &str) -> Result<Self, LabError> {
        let program = paths::find_program(name)
            .ok_or_else(|| io::Error::other(format!("not found; install {package}")))
            .at(name)?;
        let linked = run(Command::new("ldd").arg(&program)).await?;
        Ok(Self { libraries: libraries(&linked).map(PathBuf::from).collect(), program })
    }

    /// The server where Debian has it, what every server needs, and what this one does.
    fn files(&self, own: &[(&str, &str)]) -> Vec<(String, Source)> {
        let common = [
            ("etc/passwd", "root:x:0:0:root:/:/\n"),
            ("etc/group", "root:x:0:\n"),
            ("run/.keep", ""),
            ("tmp/.keep", ""),
        ];
        let texts = common.iter().chain(own);
        let texts = texts.map(|(path, text)| ((*path).to_owned(), Source::Text((*text).to_owned())));
        let files = self.libraries.iter().chain([&self.program]);
        let files = files.map(|file| {
            (file.display().to_string().trim_start_matches('/').to_owned(), Source::File(file.clone()))
        });
        texts.chain(files).collect()
    }
}

/// The files that `ldd` names: `libz.so.1 => /lib/libz.so.1 (0x..)` or, for the loader, the path alone.
fn libraries(ldd: &str) -> impl Iterator<Item = &str> {
    ldd.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
}

/// All that differs between two versions of a server.
fn version(version: &str) -> Vec<(String, Source)> {
    vec![("etc/version".into(), Source::Text(format!("{version}\n")))]
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
        page("25kB", "0123456789abcde\n".repeat(25 * 64)),
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
    pub(super) fn stamp(&self) -> Result<String, LabError> {
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
    pub(super) fn lay_out(&self, context: &Path) -> Result<(), LabError> {
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
}
