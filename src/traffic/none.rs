//! Lever `none`: there is nothing to move, so nothing is written.

use k8s_openapi::api::core::v1::Service;

use super::{Lever, LeverKind, Problem, Selection, Site, Target};

/// Selects no Service and writes nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoLever;

impl Lever for NoLever {
    fn kind(&self) -> LeverKind {
        LeverKind::None
    }

    fn services(&self, _: &Target<'_>, _: &[Service]) -> Result<Selection, Vec<Problem>> {
        Ok(Selection::default())
    }

    fn site(&self) -> Site<'_> {
        Site::Nothing
    }
}
