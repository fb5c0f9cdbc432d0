//! Lever `none`: there is nothing to move, so nothing is written and all is confirmed.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;

use super::{Confirmation, Held, Lever, LeverKind, Problem, Selection, Target, WriteRecord};
use crate::workflow::ordinals::OrdinalSet;

/// Selects no Service; what it says about one is never asked by a caller that walks its selection.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoLever;

impl Lever for NoLever {
    fn kind(&self) -> LeverKind {
        LeverKind::None
    }

    fn survives_recreation(&self) -> bool {
        true
    }

    fn key(&self) -> Option<&'static str> {
        None
    }

    fn services(&self, _: &Target<'_>, _: &[Service]) -> Result<Selection, Vec<Problem>> {
        Ok(Selection::default())
    }

    fn held(&self, _: &Service, _: &Target<'_>, _: Option<&str>) -> Held {
        Held::Ordinals(OrdinalSet::new())
    }

    fn render(
        &self,
        _: &Service,
        _: &Target<'_>,
        before: Option<&str>,
        _: &OrdinalSet,
    ) -> Result<Option<String>, Problem> {
        Ok(before.map(str::to_owned))
    }

    fn again(&self, _: &Service) -> Option<String> {
        None
    }

    fn confirmed(&self, _: &Service, write: &WriteRecord, now: Timestamp) -> Confirmation {
        Confirmation::Confirmed { at: write.at.unwrap_or(now) }
    }
}
