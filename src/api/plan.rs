//! Spec to plan.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::spec::{LosslessUpgradeSpec, OnFailure, OnTimeout, Order};
use crate::workflow::plan::{self, Amount, DrainPlan, Plan, VerifyPlan};

/// A number in the spec that the API server's rules should have refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is `{value}`; write a number or a percentage such as `25%`")]
pub struct NotAnAmount {
    field: &'static str,
    value: String,
}

/// The spec in numbers.
///
/// # Errors
/// An amount that is neither a number nor a percentage.
pub fn plan(spec: &LosslessUpgradeSpec) -> Result<Plan, NotAnAmount> {
    let surge = spec.surge.replicas.as_ref();
    let batch = amount("spec.batches.size", &spec.batches.size)?;
    Ok(Plan {
        paused: spec.paused,
        images: spec.images.clone(),
        surge: surge.map(|replicas| amount("spec.surge.replicas", replicas)).transpose()?,
        volumes_decided: spec.surge.volumes.is_some(),
        batch,
        order: match spec.batches.order {
            Order::Ascending => plan::Order::Ascending,
            Order::Descending => plan::Order::Descending,
        },
        settle: spec.traffic.settle.into(),
        confirm_timeout: spec.traffic.confirm_timeout.into(),
        drain: DrainPlan {
            idle_after: spec.drain.idle_after,
            nudged: !spec.drain.on_start.is_empty(),
            counted: !spec.drain.probes.is_empty(),
            stable_for: spec.drain.stable_for.into(),
            minimum: spec.drain.minimum.into(),
            timeout: spec.drain.timeout.into(),
            on_timeout: match spec.drain.on_timeout {
                OnTimeout::Pause => plan::OnTimeout::Pause,
                OnTimeout::Proceed => plan::OnTimeout::Proceed,
                OnTimeout::Rollback => plan::OnTimeout::Rollback,
            },
        },
        verify: VerifyPlan {
            timeout: spec.verify.timeout.into(),
            soak: spec.verify.soak.into(),
            max_restarts: u32::try_from(spec.verify.max_restarts).unwrap_or_default(),
        },
        on_failure: match spec.on_failure {
            OnFailure::Rollback => plan::OnFailure::Rollback,
            OnFailure::Pause => plan::OnFailure::Pause,
        },
    })
}

fn amount(field: &'static str, value: &IntOrString) -> Result<Amount, NotAnAmount> {
    let refuse = |value: String| NotAnAmount { field, value };
    match value {
        IntOrString::Int(count) => {
            u32::try_from(*count).map(Amount::Count).map_err(|_| refuse(count.to_string()))
        }
        IntOrString::String(text) => match text.strip_suffix('%') {
            Some(percent) => {
                let percent = percent.parse().ok().filter(|percent| *percent <= 100);
                percent.map(Amount::Percent).ok_or_else(|| refuse(text.clone()))
            }
            None => text.parse().map(Amount::Count).map_err(|_| refuse(text.clone())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_percentages_are_read_and_everything_else_is_refused() {
        let read = |value: IntOrString| amount("spec.batches.size", &value).ok();
        assert_eq!(read(IntOrString::Int(2)), Some(Amount::Count(2)));
        assert_eq!(read(IntOrString::String("2".into())), Some(Amount::Count(2)));
        assert_eq!(read(IntOrString::String("25%".into())), Some(Amount::Percent(25)));
        assert_eq!(read(IntOrString::Int(-1)), None);
        assert_eq!(read(IntOrString::String("150%".into())), None);
        assert_eq!(read(IntOrString::String("x".into())), None);
    }
}
