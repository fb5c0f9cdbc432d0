//! Builds what the lab runs and keeps it under `target/lab`. Each thing is kept beside a stamp: the text of all that it
//! was built from. It is built again when that text has changed.

mod go;
mod rust;

use std::{fs, path::Path};

pub(crate) use rust::{Program, Programs};

use crate::{
    error::{AtPath, LabError},
    images,
    progress::Progress,
    sandbox::Need,
};

/// Builds the programs that are missing or older than their sources. Needs the network when a cache is cold.
pub(crate) async fn programs(need: Need, progress: &Progress) -> Result<Programs, LabError> {
    go::build(&go::ETCD, progress).await?;
    go::build(&go::KUBERNETES, progress).await?;
    match need {
        Need::Cluster | Need::Operator => {}
        Need::Helm => go::build(&go::HELM, progress).await?,
    }
    Programs::build(images::programs(need), progress).await
}

/// Whether `stamp` holds `text`, so that what lies beside it is as wanted.
pub(crate) fn is_current(stamp: &Path, text: &str) -> bool {
    fs::read_to_string(stamp).is_ok_and(|found| found == text)
}

/// Writes the stamp, after what lies beside it is complete.
pub(crate) fn stamp(stamp: &Path, text: &str) -> Result<(), LabError> {
    fs::write(stamp, text).at(stamp)
}
