//! The CRD in `crds/` is what the Rust types say.

#[test]
fn the_crd_in_the_repository_is_generated_from_the_types() {
    let kept = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/crds/losslessupgrades.yaml"))
        .expect("crds/losslessupgrades.yaml can be read");
    let made = lossless_upgrade::api::crd_yaml().expect("the CRD can be written");
    assert!(kept == made, "crds/losslessupgrades.yaml is not what the types say: run `make gen` and commit");
}
