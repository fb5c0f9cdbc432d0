//! The components that are written in Go, built from the modules under `tests/lab/go`.

use std::fs;

use tokio::process::Command;

use super::{is_current, stamp};
use crate::{
    error::{AtPath, LabError},
    paths,
    process::{run, run_watched},
    progress::Progress,
};

/// A Go module of the lab's own, and what to build from it.
pub(super) struct Module {
    /// Its folder under `tests/lab/go`.
    name: &'static str,
    /// The file to write, or "" to name each program after its package.
    output: &'static str,
    packages: &'static [&'static str],
    link: &'static str,
}

pub(super) const ETCD: Module =
    Module { name: "etcd", output: "etcd", packages: &["go.etcd.io/etcd/server/v3"], link: "-s -w" };

pub(super) const HELM: Module =
    Module { name: "helm", output: "", packages: &["helm.sh/helm/v4/cmd/helm"], link: "-s -w" };

pub(super) const KUBERNETES: Module = Module {
    name: "kubernetes",
    output: "",
    packages: &[
        "k8s.io/kubernetes/cmd/kube-apiserver",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-proxy",
        "k8s.io/kubernetes/cmd/kube-scheduler",
        "k8s.io/kubernetes/cmd/kubectl",
        "k8s.io/kubernetes/cmd/kubelet",
    ],
    // Without a version the components take each other for strangers. It is that of go.mod.
    link: "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.4",
};

/// Builds the module's programs unless they are there already.
pub(super) async fn build(module: &Module, progress: &Progress) -> Result<(), LabError> {
    let source = paths::workspace().join("tests/lab/go").join(module.name);
    let mut wanted = run(Command::new("go").arg("version")).await? + module.link + "\n";
    for file in ["go.mod", "go.sum"] {
        let file = source.join(file);
        wanted += &fs::read_to_string(&file).at(&file)?;
    }
    let folder = paths::go_programs(module.name);
    let stamp_file = folder.join("stamp");
    if is_current(&stamp_file, &wanted) {
        return Ok(());
    }

    let step = progress.step(format!("build {} from source (minutes, once)", module.name));
    if folder.exists() {
        fs::remove_dir_all(&folder).at(&folder)?;
    }
    fs::create_dir_all(&folder).at(&folder)?;
    let mut compiled = 0;
    let mut command = Command::new("go");
    command
        .args(["build", "-v", "-mod=readonly", "-ldflags", module.link, "-o"])
        .arg(folder.join(module.output))
        .args(module.packages)
        .current_dir(&source)
        .env("CGO_ENABLED", "0")
        .env("GOWORK", "off")
        .env_remove("GOFLAGS");
    run_watched(&mut command, |package| {
        compiled += 1;
        step.update(&format!("{compiled} packages, {package}"));
    })
    .await?;
    stamp(&stamp_file, &wanted)?;
    step.done();
    Ok(())
}
