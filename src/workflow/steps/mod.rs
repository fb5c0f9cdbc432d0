//! One file a step.

pub mod attach;
pub mod detach;
pub mod drain;
pub mod preflight;
pub mod replace;
pub mod rest;
pub mod restore;
pub mod retire;
pub mod soak;
pub mod surge;
pub mod template;
pub mod verify;

use super::state::{Run, Step};
use super::turn::{Next, Turn};

/// The step's own look.
pub fn look(turn: &mut Turn<'_>, run: &mut Run) -> Next {
    match run.step {
        Step::Preflight => preflight::look(turn, run),
        Step::Surge => surge::look(turn, run),
        Step::Detach => detach::look(turn, run),
        Step::Drain => drain::look(turn, run),
        Step::Replace => replace::look(turn, run),
        Step::Verify => verify::look(turn, run),
        Step::Attach => attach::look(turn, run),
        Step::Soak => soak::look(turn, run),
        Step::Retire => retire::look(turn, run),
        Step::Restore => restore::look(turn, run),
        Step::Template => template::look(turn, run),
    }
}
