//! Where the live view goes.

use std::io::{self, IsTerminal as _};

use super::{lines::Lines, scene::Scene, table::Ended, terminal::Terminal};

/// A terminal, or lines of text where there is none. Dropping it gives the terminal back as it was.
pub(super) enum Screen {
    Terminal(Box<Terminal>),
    Lines(Lines),
}

impl Screen {
    /// `before` are the acts that have ended, which the view keeps in sight.
    pub(super) fn open(before: &[Ended]) -> io::Result<Self> {
        if io::stdout().is_terminal() {
            Ok(Self::Terminal(Box::new(Terminal::open(before)?)))
        } else {
            Ok(Self::Lines(Lines::default()))
        }
    }

    pub(super) fn show(&mut self, scene: &Scene) -> io::Result<()> {
        match self {
            Self::Terminal(terminal) => terminal.draw(scene),
            Self::Lines(lines) => {
                lines.print(scene);
                Ok(())
            }
        }
    }
}
