//! `lint`: everything that stands against a run, or would lose requests in it. The operator's own
//! preflight first, then what it has no opinion on. Nothing is written.
//!
//! | file | what is in it |
//! |---|---|
//! | `finding.rs` | what a check says, and how it is shown |
//! | `checks.rs` | the pod template, the Services, the budget, the claims, the spec |
//! | `owners.rs` | who else writes the StatefulSet: Argo CD, Flux, Helm |
//! | `room.rs` | quota and nodes: whether the surge finds room |

pub mod checks;
pub mod finding;
pub mod owners;
pub mod room;

use clap::Args;
use k8s_openapi::api::core::v1::{Node, Pod, ResourceQuota};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::code::{CliError, Code};
use super::fetch::Cluster;
use super::plan::{Seen, Subject, Trust, see};
use super::text::Paint;
use super::{Answer, Format, written};
use crate::controller::observe;
use crate::workflow::obstacles;
use crate::workflow::reasons::{Problem, Reason};
use finding::{Check, Finding, Rule, Severity};

/// Options of `lint`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Exit code 1 when there is an error: a run would not begin, or would lose requests. Warnings and notes end with 0.
It looks with your rights, not the operator's; what you may not read is noted as not checked.")]
pub struct LintArgs {
    #[command(flatten)]
    subject: Subject,
    /// How it is written
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    /// Image of the drain counter, where admission lets in only some images; it is tried as a dry run
    #[arg(long, value_name = "IMAGE")]
    counter_image: Option<String>,
    #[command(flatten)]
    trust: Trust,
}

/// Looks at everything.
///
/// # Errors
/// No such object or file, or no answer.
pub async fn run(cluster: &Cluster, args: &LintArgs, paint: Paint) -> Result<Answer, CliError> {
    let seen = see(cluster, &args.subject, args.counter_image.as_deref(), &args.trust).await?;
    let findings = find(&seen).await?;
    let bad = findings.iter().any(|finding| finding.severity == Severity::Error);
    let code = if bad { Code::Failed } else { Code::Done };
    let text = match args.output {
        Some(format) => written(&findings, format)?,
        None => finding::view(&seen.object, &findings, paint),
    };
    Ok(Answer { text, code })
}

async fn find(seen: &Seen) -> Result<Vec<Finding>, CliError> {
    let Seen { object, plan, look, cluster } = seen;
    let mut findings: Vec<Finding> = obstacles(plan, &look.seen).iter().map(preflight).collect();
    findings
        .extend(look.warnings.iter().map(|text| Finding::said(Severity::Warning, Reason::MayDisturb, text)));
    if let Some(set) = &look.set {
        let services = observe::selecting(&cluster.client, &cluster.namespace, set).await?;
        let levered: Vec<String> = look
            .levers
            .iter()
            .flat_map(|(_, services)| services)
            .filter_map(|one| one.metadata.name.clone())
            .collect();
        findings.extend(checks::template(set));
        findings.extend(checks::services(set, &services, &levered));
        findings.extend(checks::claims(set));
        findings.extend(checks::spec(object));
        findings.extend(owners::find(object, set, &levered));
        let mut unread = Vec::new();
        let budgets =
            list::<PodDisruptionBudget>(Api::namespaced(cluster.client.clone(), &cluster.namespace)).await;
        if let Some(budgets) = known(budgets, "PodDisruptionBudgets", &mut unread)? {
            findings.extend(checks::budgets(set, &budgets));
        }
        let replicas = look.seen.set.as_ref().map_or(0, |set| set.replicas);
        let ordered = look.seen.set.as_ref().is_some_and(|set| set.ordered_ready);
        let surge = object.status.as_ref().and_then(|status| status.run.as_ref()).map_or_else(
            || plan.surge_size(replicas, ordered),
            // The surge is there: it has found its room.
            |_| 0,
        );
        if surge > 0 {
            let quotas =
                list::<ResourceQuota>(Api::namespaced(cluster.client.clone(), &cluster.namespace)).await;
            if let Some(quotas) = known(quotas, "ResourceQuotas", &mut unread)? {
                findings.extend(room::quota(set, surge, &quotas));
            }
            let nodes = known(list::<Node>(Api::all(cluster.client.clone())).await, "Nodes", &mut unread)?;
            let pods = known(
                list::<Pod>(Api::all(cluster.client.clone())).await,
                "the Pods of all namespaces",
                &mut unread,
            )?;
            if let (Some(nodes), Some(pods)) = (nodes, pods) {
                findings.extend(room::nodes(set, surge, &nodes, &pods));
            }
        }
        findings.extend(unread.into_iter().map(not_checked));
    }
    findings.sort_by_key(|finding| finding.severity);
    Ok(findings)
}

/// What the operator would refuse to begin with.
fn preflight(problem: &Problem) -> Finding {
    // The dry run was made with the user's rights; the operator has its own.
    let rights = [
        (
            "has no right to start the drain counter",
            "Whether the drain counter may enter the pods: you have not the right to patch pods/ephemeralcontainers",
        ),
        (
            "has no right to run commands in pods",
            "Whether the command of the exec probe counts: you have not the right to pods/exec",
        ),
    ];
    let lacking = rights.iter().find(|(words, _)| problem.text.contains(words));
    if let Some((_, what)) = lacking.filter(|_| problem.reason == Reason::ProbeUnusable) {
        return Finding {
            severity: Severity::Note,
            rule: Rule::Own(Check::NotChecked),
            what: (*what).into(),
            means: "The operator asks again with its own rights before a run begins.".into(),
            fix: None,
        };
    }
    Finding::said(Severity::Error, problem.reason, &problem.text)
}

fn not_checked(what: &'static str) -> Finding {
    Finding {
        severity: Severity::Note,
        rule: Rule::Own(Check::NotChecked),
        what: format!("You have not the right to list {what}"),
        means: "What depends on them was not looked at.".into(),
        fix: None,
    }
}

async fn list<K>(api: Api<K>) -> kube::Result<Vec<K>>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned,
{
    api.list(&ListParams::default()).await.map(|list| list.items)
}

/// What was read; none, and noted, where the user may not read it.
fn known<T>(
    read: kube::Result<Vec<T>>,
    what: &'static str,
    unread: &mut Vec<&'static str>,
) -> Result<Option<Vec<T>>, CliError> {
    match read {
        Ok(items) => Ok(Some(items)),
        Err(kube::Error::Api(status)) if status.is_forbidden() => {
            unread.push(what);
            Ok(None)
        }
        Err(error) => Err(CliError::api(format!("listing {what}"))(error)),
    }
}
