//! What may follow what. The steps decide; this table says what they may decide, and the state
//! diagram of the documentation is drawn from it.

use super::state::Step;

/// Each step with the steps that may follow it. A step may also end the run.
pub const TABLE: &[(Step, &[Step])] = &[
    (Step::Preflight, &[Step::Surge, Step::Template, Step::Restore]),
    (
        Step::Surge,
        &[Step::Verify, Step::Soak, Step::Replace, Step::Detach, Step::Attach, Step::Template, Step::Restore],
    ),
    (Step::Detach, &[Step::Drain, Step::Attach, Step::Soak, Step::Template, Step::Restore]),
    (
        Step::Drain,
        &[Step::Replace, Step::Retire, Step::Detach, Step::Attach, Step::Soak, Step::Template, Step::Restore],
    ),
    (
        Step::Replace,
        &[Step::Verify, Step::Detach, Step::Drain, Step::Attach, Step::Soak, Step::Template, Step::Restore],
    ),
    (Step::Verify, &[Step::Attach, Step::Surge, Step::Soak, Step::Template, Step::Restore]),
    (Step::Attach, &[Step::Soak, Step::Template, Step::Restore]),
    (
        Step::Soak,
        &[
            Step::Surge,
            Step::Detach,
            Step::Replace,
            Step::Verify,
            Step::Attach,
            Step::Restore,
            Step::Template,
        ],
    ),
    (Step::Retire, &[Step::Restore, Step::Detach, Step::Template]),
    (Step::Restore, &[Step::Template]),
    (Step::Template, &[Step::Soak, Step::Attach, Step::Restore]),
];

/// Whether `next` may follow `step`. Staying is always allowed.
#[must_use]
pub fn allowed(step: Step, next: Step) -> bool {
    step == next || TABLE.iter().any(|(from, to)| *from == step && to.contains(&next))
}
