//! The three ways to upgrade that the demo compares.

use std::time::Duration;

use crate::scenario::{App, Deployed, Run, ScenarioError, Stage, UpdateStrategy};

/// Tag of the image that all acts go to.
pub(super) const NEW: &str = "v2";

/// The object of the last act.
const UPGRADE: &str = include_str!("lossless-upgrade.yaml");
/// Its name.
pub(super) const UPGRADE_NAME: &str = "nginx";

/// One way to upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    RollingUpdate,
    UsualAdvice,
    LosslessUpgrade,
}

/// Where the time of an act went. What an act does not wait for has no time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) balancer: Option<Duration>,
    pub(super) drain: Option<Duration>,
    pub(super) pods: Option<Duration>,
    pub(super) soak: Option<Duration>,
    pub(super) operator: Option<Duration>,
}

impl Act {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::RollingUpdate => "(a) RollingUpdate",
            Self::UsualAdvice => "(b) RollingUpdate + preStop",
            Self::LosslessUpgrade => "(c) LosslessUpgrade",
        }
    }

    /// The same where there is room for twenty letters.
    pub(super) fn column(self) -> &'static str {
        match self {
            Self::UsualAdvice => "(b) with preStop",
            Self::RollingUpdate | Self::LosslessUpgrade => self.title(),
        }
    }

    /// The same application each time, as this way needs it.
    pub(super) fn app(self) -> App {
        match self {
            Self::RollingUpdate => App::nginx("demo-a"),
            // Sleeps longer than the balancer lags, and has as long as before for what is open after that.
            Self::UsualAdvice => App {
                pre_stop: Some(Duration::from_secs(3)),
                grace: Duration::from_secs(13),
                ..App::nginx("demo-b")
            },
            Self::LosslessUpgrade => App { strategy: UpdateStrategy::OnDelete, ..App::nginx("demo-c") },
        }
    }

    /// What has to be there before the load begins.
    pub(super) fn prepare(self, stage: &Stage, app: &Deployed<'_>) -> Result<(), ScenarioError> {
        match self {
            Self::RollingUpdate | Self::UsualAdvice => Ok(()),
            Self::LosslessUpgrade => stage.apply(&app.app().namespace, UPGRADE),
        }
    }

    /// Upgrades from v1 to v2, to the end.
    pub(super) async fn upgrade(self, app: &Deployed<'_>) -> Result<(), ScenarioError> {
        app.set_image(&format!("lab/nginx:{NEW}")).await?;
        match self {
            Self::RollingUpdate | Self::UsualAdvice => app.rolled_out().await,
            Self::LosslessUpgrade => {
                let ended = app.upgraded(UPGRADE_NAME).await?;
                // Another end than Succeeded leaves pods behind, and says so here.
                app.rolled_out().await.map_err(|error| match error {
                    ScenarioError::TooLate { what, limit, .. } => {
                        ScenarioError::TooLate { what, limit, seen: ended.message.clone() }
                    }
                    other @ (ScenarioError::Lab(_) | ScenarioError::Api(_) | ScenarioError::Object(_)) => {
                        other
                    }
                })
            }
        }
    }

    /// Where the time went: as the witness saw it, or as the operator counted it.
    pub(super) async fn spent(self, stage: &Stage, run: &Run) -> Result<Spent, ScenarioError> {
        match self {
            Self::RollingUpdate | Self::UsualAdvice => {
                let seen = run.time_spent();
                Ok(Spent { drain: Some(seen.ending), pods: Some(seen.starting), ..Spent::default() })
            }
            Self::LosslessUpgrade => {
                let counted = stage.operator_time(&self.app().namespace, UPGRADE_NAME).await?;
                Ok(Spent {
                    balancer: Some(counted.of(&["Detach", "Attach"])),
                    // To reclaim the surge is to drain it.
                    drain: Some(counted.of(&["Drain", "Reclaim"])),
                    pods: Some(counted.of(&["Surge", "Replace", "Verify"])),
                    soak: Some(counted.of(&["Soak"])),
                    operator: Some(Duration::try_from_secs_f64(counted.late).unwrap_or_default()),
                })
            }
        }
    }
}
