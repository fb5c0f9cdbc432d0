//! The table at the end: the ways to upgrade side by side.

use std::{fmt::Write as _, time::Duration};

use super::act::{Act, Spent};
use crate::{oracle::Kind, scenario::Run};

/// Width of the names and of an act's column: with three acts it fits a terminal of 80 columns.
const NAME: usize = 20;
const VALUE: usize = 20;

/// What one act cost.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) act: Act,
    pub(super) run: Run,
    pub(super) spent: Spent,
}

impl Ended {
    /// What the rows above do not name: preflight, and the StatefulSet controller's own work.
    fn rest(&self) -> Duration {
        let Spent { balancer, drain, pods, soak, operator: _within_the_others } = self.spent;
        let named: Duration = [balancer, drain, pods, soak].into_iter().flatten().sum();
        self.run.took.saturating_sub(named)
    }

    fn undrained(&self) -> usize {
        self.run.deletions.iter().filter(|deletion| !deletion.was_drained()).count()
    }
}

/// The whole table, with a line end after each row.
pub(super) fn render(acts: &[Ended]) -> String {
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    let mut row = |name: &str, value: &dyn Fn(&Ended) -> String| {
        rows.push((name.to_owned(), acts.iter().map(value).collect()));
    };
    row("", &|ended| ended.act.column().to_owned());
    row("requests", &|ended| ended.run.report.requests().to_string());
    row("lost", &|ended| ended.run.report.lost().to_string());
    let asked = |kind: &Kind| acts.iter().any(|ended| ended.run.report.kinds.contains_key(kind));
    for kind in Kind::ALL.into_iter().filter(asked) {
        row(&format!("  {kind}"), &|ended| lost_of(ended, kind));
    }
    row("connections severed", &|ended| ended.run.report.severed.to_string());
    row("pods deleted", &|ended| ended.run.deletions.len().to_string());
    row("  with connections", &|ended| ended.undrained().to_string());
    row("wall time", &|ended| seconds(Some(ended.run.took)));
    row("  load balancer", &|ended| seconds(ended.spent.balancer));
    row("  drain", &|ended| seconds(ended.spent.drain));
    row("  pod start", &|ended| seconds(ended.spent.pods));
    row("  soak", &|ended| seconds(ended.spent.soak));
    row("  rest", &|ended| seconds(Some(ended.rest())));
    row("operator late (sum)", &|ended| seconds(ended.spent.operator));
    let mut text = String::new();
    for (name, values) in rows {
        let _never_fails = write!(text, "{name:<NAME$}");
        for value in values {
            let _never_fails = write!(text, "{value:>VALUE$}");
        }
        text.push('\n');
    }
    text
}

fn lost_of(ended: &Ended, kind: Kind) -> String {
    let report = &ended.run.report;
    let of_kind = report.kinds.get(&kind).map_or(0, |kind| kind.requests);
    format!("{} of {of_kind}", report.lost_of(kind))
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::LossReport;

    #[test]
    fn the_acts_stand_side_by_side_and_what_was_not_waited_for_is_a_dash() {
        let run = Run {
            report: LossReport::default(),
            took: Duration::from_millis(42_300),
            deletions: Vec::new(),
            moments: Vec::new(),
            applied: Vec::new(),
            serving: Vec::new(),
        };
        let spent = Spent { drain: Some(Duration::from_secs(12)), ..Spent::default() };
        let ended = |act| Ended { act, run: run.clone(), spent };
        let table = render(&[ended(Act::RollingUpdate), ended(Act::LosslessUpgrade)]);
        let line = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert_eq!(
            line("wall time").split_whitespace().collect::<Vec<_>>(),
            ["wall", "time", "42.3", "s", "42.3", "s"]
        );
        assert_eq!(line("  soak").split_whitespace().collect::<Vec<_>>(), ["soak", "-", "-"]);
        assert_eq!(line("  rest").split_whitespace().collect::<Vec<_>>(), ["rest", "30.3", "s", "30.3", "s"]);
        assert!(table.lines().all(|line| line.chars().count() == NAME + 2 * VALUE));
    }
}
