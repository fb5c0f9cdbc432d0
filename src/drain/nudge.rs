//! What is done to a pod once when its drain begins, so that its clients leave sooner: a request, or a
//! command. A nudge that fails costs time and no request, so nothing waits for it twice.
//!
//! | here | what |
//! |---|---|
//! | this file | the table from what users write to a nudge, and its one way |
//! | `http` | the request |
//! | `exec` | the command |

mod exec;
mod http;

#[cfg(test)]
mod tests;

use std::time::Duration;

use futures::future::join_all;

use self::exec::ExecNudge;
use self::http::HttpNudge;
use super::spec::nudge::NudgeSpec;
use super::{Means, PodTarget, Refusal};

/// A nudge takes no longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// All nudges of an object, in their order.
pub struct Nudges {
    nudges: Vec<Nudge>,
    patience: Duration,
}

enum Nudge {
    Http(HttpNudge),
    Exec(ExecNudge),
}

impl Default for Nudges {
    /// None.
    fn default() -> Self {
        Self { nudges: Vec::new(), patience: PATIENCE }
    }
}

impl Nudges {
    /// The nudges by `spec.drain.onStart`.
    ///
    /// # Errors
    /// An item does not name exactly one nudge, or one with a path that would lead elsewhere.
    pub fn new(specs: &[NudgeSpec], means: &Means) -> Result<Self, Refusal> {
        let nudges = specs.iter().map(|spec| nudge(spec, means)).collect::<Result<_, _>>()?;
        Ok(Self { nudges, ..Self::default() })
    }

    /// Would the operator be let? Nothing is asked of anybody.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn admit(&self) -> Result<(), Refusal> {
        self.nudges.iter().try_for_each(|nudge| match nudge {
            Nudge::Http(_) => Ok(()),
            Nudge::Exec(nudge) => nudge.admit(),
        })
    }

    /// Nudges the pods, all at once, each by one nudge after the other. It ends within seconds for each
    /// nudge, whatever the pods do. Answers, for each pod where one failed, what did: the rest of the
    /// nudges were tried all the same.
    pub async fn nudge(&self, pods: &[PodTarget]) -> Vec<String> {
        let failures = join_all(pods.iter().map(|pod| self.nudge_one(pod))).await;
        let told = pods.iter().zip(failures).filter(|(_, failures)| !failures.is_empty());
        told.map(|(pod, failures)| format!("{}: {}", pod.name, failures.join("; "))).collect()
    }

    async fn nudge_one(&self, pod: &PodTarget) -> Vec<String> {
        let mut failures = Vec::new();
        for nudge in &self.nudges {
            let (title, done) = match nudge {
                Nudge::Http(nudge) => {
                    (nudge.to_string(), tokio::time::timeout(self.patience, nudge.send(pod)).await)
                }
                Nudge::Exec(nudge) => {
                    (nudge.to_string(), tokio::time::timeout(self.patience, nudge.run(pod)).await)
                }
            };
            match done {
                Ok(Ok(())) => {}
                Ok(Err(why)) => failures.push(format!("{title}: {why}")),
                Err(_) => failures.push(format!("{title}: no end within {} s", self.patience.as_secs_f32())),
            }
        }
        failures
    }
}

/// The table: from one item of `spec.drain.onStart` to its nudge.
fn nudge(spec: &NudgeSpec, means: &Means) -> Result<Nudge, Refusal> {
    let NudgeSpec { http, exec } = spec;
    match (http, exec) {
        (Some(http), None) => HttpNudge::new(http).map(Nudge::Http),
        (None, Some(exec)) => Ok(Nudge::Exec(ExecNudge::new(exec, means.client.clone(), means.allow_exec))),
        (None, None) | (Some(_), Some(_)) => Err(Refusal::lasting(
            "an item of spec.drain.onStart does not name exactly one nudge",
            "write `http` or `exec`, and an item for each",
        )),
    }
}
