//! The demo: real nginx is upgraded three ways under the same load, live, and the three are compared.

mod act;
mod lines;
mod scene;
mod screen;
mod table;
mod terminal;

use std::time::Duration;

use anyhow::Context as _;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval},
};

use act::Act;
use screen::Screen;
use table::Ended;

use crate::{
    balancer::Behaviour,
    load::{Load, LoadPlan, Profile},
    progress::Progress,
    sandbox::{Inside, Need},
    scenario::{Deployed, ScenarioError, Stage},
};

/// How often the view is drawn anew.
const FRAME: Duration = Duration::from_millis(300);

/// What is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Program {
    /// All three ways, compared
    Whole,
    /// The two that need no operator: what the load finds
    Control,
    /// The operator's alone
    Lossless,
}

impl Program {
    /// What has to be built for it.
    #[must_use]
    pub fn need(self) -> Need {
        match self {
            Self::Whole | Self::Lossless => Need::Operator,
            Self::Control => Need::Cluster,
        }
    }

    fn acts(self) -> &'static [Act] {
        match self {
            Self::Whole => &[Act::RollingUpdate, Act::UsualAdvice, Act::LosslessUpgrade],
            Self::Control => &[Act::RollingUpdate, Act::UsualAdvice],
            Self::Lossless => &[Act::LosslessUpgrade],
        }
    }
}

/// What the demo showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The plain update lost requests, the lossless one none.
    Proven,
    /// The lossless one lost some, too.
    Lost,
    /// The plain update lost none: such a load could not tell the difference.
    Blind,
    /// The user has seen enough.
    Interrupted,
}

/// Plays the program's acts and prints the table.
///
/// # Errors
/// When the lab or an act fails, which proves nothing either way.
pub async fn run(inside: &Inside, progress: &Progress, program: Program) -> anyhow::Result<Verdict> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let verdict = tokio::select! {
        verdict = play(inside, progress, program) => verdict?,
        _ = interrupt.recv() => Verdict::Interrupted,
        _ = terminate.recv() => Verdict::Interrupted,
    };
    println!("{}", verdict.sentence(program));
    Ok(verdict)
}

async fn play(inside: &Inside, progress: &Progress, program: Program) -> anyhow::Result<Verdict> {
    let stage = Stage::set(inside, progress, Behaviour::default()).await?;
    if program.need() == Need::Operator {
        let step = progress.step("operator");
        stage.install_operator().await?;
        step.done();
    }
    let mut ended = Vec::new();
    for &act in program.acts() {
        let step = progress.step(act.title());
        let app = stage.deploy(act.app()).await?;
        act.prepare(&stage, &app)?;
        step.done();
        ended.push(perform(&stage, act, &app, &ended).await.with_context(|| act.title().to_owned())?);
        app.remove().await?;
    }
    stage.strike().await;
    println!("\n{}", table::render(&ended));
    Ok(verdict(&ended))
}

/// Upgrades under load, with the view beside it.
async fn perform(stage: &Stage, act: Act, app: &Deployed<'_>, before: &[Ended]) -> anyhow::Result<Ended> {
    let mut screen = Screen::open(before)?;
    let load = Load::start(&LoadPlan { targets: app.targets(), profile: Profile::default() });
    let seen = load.gauge();
    let began = Instant::now();
    let show = async {
        let mut frames = interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            frames.tick().await;
            match scene::look(act, app, seen.snapshot(), began.elapsed()).await {
                Ok(scene) => screen.show(&scene)?,
                // The API server may be late once; the update itself has the word on what is an error.
                Err(ScenarioError::Api(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    };
    let run = tokio::select! {
        run = app.run_with(load, act.upgrade(app)) => run?,
        shown = show => return shown,
    };
    drop(screen);
    let spent = act.spent(stage, &run).await?;
    println!("{}:\n{}", act.title(), run.report);
    Ok(Ended { act, run, spent })
}

fn verdict(ended: &[Ended]) -> Verdict {
    let lost = |act| {
        let of_act = ended.iter().find(|ended| ended.act == act);
        of_act.map(|ended| ended.run.report.lost())
    };
    match (lost(Act::RollingUpdate), lost(Act::LosslessUpgrade)) {
        (_, Some(1..)) => Verdict::Lost,
        (Some(0), _) => Verdict::Blind,
        (Some(1..) | None, Some(0) | None) => Verdict::Proven,
    }
}

impl Verdict {
    fn sentence(self, program: Program) -> &'static str {
        match (self, program) {
            (Self::Proven, Program::Whole) => {
                "The load finds what a RollingUpdate loses, and the LosslessUpgrade lost nothing."
            }
            (Self::Proven, Program::Control) => "The load finds what a RollingUpdate loses.",
            (Self::Proven, Program::Lossless) => {
                "The LosslessUpgrade lost nothing; `lab demo` shows what a RollingUpdate loses."
            }
            (Self::Lost, _) => "FAILED: the LosslessUpgrade lost requests.",
            (Self::Blind, _) => "FAILED: the RollingUpdate lost nothing, so this load proves nothing.",
            (Self::Interrupted, _) => "Interrupted.",
        }
    }
}
