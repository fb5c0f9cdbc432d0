//! Every name that we write into other people's objects, in one place.

/// Field manager of all our writes.
pub const MANAGER: &str = "lossless-upgrade";
/// Field manager of our marks: the time that is kept for a manager must stay that of its last write
/// to a lever.
pub const MARKER: &str = "lossless-upgrade-marker";
/// Keeps an object until its levers are put back and its surge is gone.
pub const FINALIZER: &str = "lossless-upgrade.io/restore";
/// On a pod: moves its resourceVersion so that a delete still under way conflicts.
pub const FENCE: &str = "lossless-upgrade.io/state";
/// On the object: the user ends the run. Any new value counts once.
pub const ABORT: &str = "lossless-upgrade.io/abort";
/// On the object: the user wants the old version back.
pub const ROLLBACK: &str = "lossless-upgrade.io/rollback";
/// On the object: the user wants a halted or rejected run to be tried again.
pub const RETRY: &str = "lossless-upgrade.io/retry";
