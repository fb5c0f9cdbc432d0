//! What is generated is what it is generated from: the CRD, and the chart's copies of what `deploy/` says.

#![allow(clippy::expect_used, reason = "a test that cannot read a file fails")]

fn read(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| format!("{path}: {error}"))
}

#[test]
fn the_crd_in_the_repository_is_generated_from_the_types() {
    let kept = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/crds/losslessupgrades.yaml"))
        .expect("crds/losslessupgrades.yaml can be read");
    let made = lossless_upgrade::api::crd_yaml().expect("the CRD can be written");
    assert!(kept == made, "crds/losslessupgrades.yaml is not what the types say: run `make gen` and commit");
}

#[test]
fn the_chart_has_the_crd_the_rights_the_policy_and_the_alerts_as_they_are() {
    for (source, copy) in [
        ("crds/losslessupgrades.yaml", "crd.yaml"),
        ("deploy/rbac.yaml", "rbac.yaml"),
        ("deploy/drain-counter/rbac.yaml", "drain-counter.yaml"),
        ("deploy/secrets/rbac.yaml", "secrets.yaml"),
        ("deploy/exec/rbac.yaml", "exec.yaml"),
        ("deploy/policy/policy.yaml", "policy.yaml"),
        ("deploy/alerts/prometheus-rule.yaml", "alerts.yaml"),
    ] {
        let kept = read(&format!("deploy/chart/files/{copy}"));
        assert!(kept == read(source), "deploy/chart/files/{copy} is not {source}: run `make gen` and commit");
    }
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let version = env!("CARGO_PKG_VERSION");
    let chart = read("deploy/chart/Chart.yaml");
    for line in [format!("\nversion: {version}\n"), format!("\nappVersion: \"{version}\"\n")] {
        assert!(chart.contains(&line), "Chart.yaml is not of version {version}: {chart}");
    }
}
