//! The live view where there is no terminal: a line now and then.

use std::{fmt::Write as _, time::Duration};

use tokio::time::Instant;

use super::scene::{Cell, Life, Scene, Traffic};

/// Time between two lines.
const EVERY: Duration = Duration::from_secs(4);

#[derive(Debug, Default)]
pub(super) struct Lines {
    last: Option<Instant>,
}

impl Lines {
    pub(super) fn print(&mut self, scene: &Scene) {
        if self.last.is_some_and(|last| last.elapsed() < EVERY) {
            return;
        }
        self.last = Some(Instant::now());
        println!("{}", line(scene));
    }
}

fn line(scene: &Scene) -> String {
    let mut line = format!(
        "{} {:>3} s  {}/{}  {} of {} lost ",
        scene.act.title(),
        scene.elapsed.as_secs(),
        scene.updated,
        scene.wanted,
        scene.report.lost(),
        scene.report.requests()
    );
    for cell in &scene.pods {
        let _never_fails = write!(line, " {}", short(cell));
    }
    let _never_fails = write!(line, "  {}: {}", scene.phase, scene.message);
    line
}

/// `0:v1+12`: ordinal, version, attached (`+`) or not (`-`), connections; `~` starts, `!` ends, `x` is gone.
fn short(cell: &Cell) -> String {
    let traffic = match cell.traffic {
        Traffic::Attached => "+",
        Traffic::Detached | Traffic::Unknown => "-",
    };
    let life = match cell.life {
        Life::Starting => "~",
        Life::Ready => "",
        Life::Ending => "!",
        Life::Gone => "x",
    };
    format!("{}:{}{life}{traffic}{}", cell.ordinal, cell.version, cell.connections)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{demo::act::Act, oracle::LossReport};

    #[test]
    fn a_line_says_all_there_is_to_see() {
        let cell = Cell {
            ordinal: 3,
            version: "v2".to_owned(),
            revision: "6d5f".to_owned(),
            is_new: true,
            life: Life::Ending,
            traffic: Traffic::Detached,
            connections: 7,
        };
        let scene = Scene {
            act: Act::LosslessUpgrade,
            elapsed: Duration::from_secs(61),
            pods: vec![cell],
            updated: 3,
            wanted: 4,
            phase: "Drain".to_owned(),
            message: "7 connections left".to_owned(),
            report: LossReport::default(),
        };
        let expected = "(c) LosslessUpgrade  61 s  3/4  0 of 0 lost  3:v2!-7  Drain: 7 connections left";
        assert_eq!(line(&scene), expected);
    }
}
