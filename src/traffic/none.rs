//! Lever `none`: there is nothing to move, so nothing is written.

use k8s_openapi::api::core::v1::Service;

use super::spec::NoneSpec;
use super::{Lever, LeverKind, Problem, Selection, Site, Target};

/// Selects no Service and writes nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoLever;

impl NoLever {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "every lever is made so of its spec")]
    pub(super) const fn new(_: &NoneSpec) -> Self {
        Self
    }

    pub(super) const fn of_saved(_: &str, _: Option<&str>) -> Self {
        Self
    }
}

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
