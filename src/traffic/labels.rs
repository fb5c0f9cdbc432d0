//! Labels that the StatefulSet controller gives to each pod
//! (<https://kubernetes.io/docs/reference/labels-annotations-taints/>).

/// The pod's own name.
pub const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
/// The pod's ordinal.
pub const POD_INDEX: &str = "apps.kubernetes.io/pod-index";
/// The revision that the pod was made from.
pub const REVISION: &str = "controller-revision-hash";
