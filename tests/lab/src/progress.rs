//! What the user sees while he waits: spinners on a terminal, plain lines elsewhere.

use std::{
    io::{IsTerminal, stderr},
    sync::Mutex,
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// How often a step repeats itself where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows steps that may run at the same time. Writes to standard error only.
#[derive(Debug)]
pub struct Progress {
    bars: Option<MultiProgress>,
}

/// One step, shown from its making until [`Step::done`]; a step dropped before has failed and vanishes.
#[derive(Debug)]
pub struct Step {
    name: String,
    started: Instant,
    shown: Shown,
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    Lines { last: Mutex<Instant> },
}

impl Progress {
    /// Spinners if standard error is a terminal, else lines.
    #[must_use]
    pub fn new() -> Self {
        Self { bars: stderr().is_terminal().then(MultiProgress::new) }
    }

    /// Begins a step.
    pub fn step(&self, name: impl Into<String>) -> Step {
        let name = name.into();
        let started = Instant::now();
        let shown = match &self.bars {
            Some(bars) => {
                let bar = bars.add(ProgressBar::new_spinner());
                if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {wide_msg} {elapsed}") {
                    bar.set_style(style);
                }
                bar.set_prefix(name.clone());
                bar.enable_steady_tick(Duration::from_millis(100));
                Shown::Bar(bar)
            }
            None => Shown::Lines { last: Mutex::new(started) },
        };
        Step { name, started, shown }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Step {
    /// Says where the step is. Without a terminal, most of these are left out.
    pub fn update(&self, detail: &str) {
        match &self.shown {
            Shown::Bar(bar) => bar.set_message(detail.to_owned()),
            Shown::Lines { last } => {
                let Ok(mut last) = last.lock() else { return };
                if last.elapsed() >= LINE_EVERY {
                    *last = Instant::now();
                    eprintln!("lab: {}: {detail} ({} s)", self.name, self.started.elapsed().as_secs());
                }
            }
        }
    }

    /// Ends the step with its time.
    pub fn done(self) {
        let line = format!("lab: {} ({:.1} s)", self.name, self.started.elapsed().as_secs_f64());
        match &self.shown {
            // The bar's own way to print: the line goes above the bars that are still there.
            Shown::Bar(bar) => bar.suspend(|| eprintln!("{line}")),
            Shown::Lines { .. } => eprintln!("{line}"),
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}
