//! The operator's rights are those that it uses: what the API server's log has of the whole suite,
//! against what the roles in `deploy/` grant.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use lab::audit::{Right, granted, used};
use lab::cluster::CONFINED;
use lab::scenario::{ScenarioError, Stage, until};
use libtest_mimic::{Completion, Failed};
use serde_json::{Value, json};

use crate::harness::apply;
use crate::writes::OPERATOR;

/// Granted for what not every run of the suite comes to, each with what that is.
const SELDOM: [(&str, &str); 1] = [(
    "patch pods",
    "marks a pod whose delete was ordered and then not made; the case of the late delete always comes to it, \
     with an operator of its own",
)];

/// What Kubernetes itself lets everybody do who is logged in (`system:public-info-viewer`).
const EVERYBODYS: [&str; 1] = ["get /version"];

/// The last word of the suite. Only when all of it ran well has everything that the operator can do
/// been seen; a part of it still shows that nothing is missing.
pub async fn judge(stage: &Stage, whole: bool) -> Result<Completion, Failed> {
    let log = tokio::fs::read_to_string(stage.cluster().audit_log()).await?;
    let used = used(&log, OPERATOR);
    for (right, times) in &used.rights {
        println!("    {times:>6} times {right}");
    }
    if !used.refused.is_empty() {
        return Err(format!("the operator has no right to what it tried: {}", list(&used.refused)).into());
    }
    let granted = granted(&stage.cluster().client(), "lossless-upgrade-system", "lossless-upgrade").await?;
    let used: BTreeSet<Right> = used.rights.into_keys().collect();
    // The cluster lets it, by a role that is not ours.
    let is_everybodys = |right: &Right| EVERYBODYS.contains(&right.to_string().as_str());
    let foreign: BTreeSet<_> =
        used.difference(&granted).filter(|right| !is_everybodys(right)).cloned().collect();
    if !foreign.is_empty() {
        return Err(format!("used, and not granted in deploy/: {}", list(&foreign)).into());
    }
    let mut idle: BTreeSet<_> = granted.difference(&used).cloned().collect();
    for (name, reason) in SELDOM {
        if let Some(right) = idle.iter().find(|right| right.to_string() == name).cloned() {
            println!("    not used: {right}, which {reason}");
            idle.remove(&right);
        }
    }
    match (whole, idle.is_empty()) {
        (true, true) => Ok(Completion::Completed),
        (true, false) => Err(format!("granted in deploy/, and never used: {}", list(&idle)).into()),
        (false, _) => {
            let unseen = if idle.is_empty() { "nothing".to_owned() } else { list(&idle) };
            let why = format!("only the whole suite uses all rights; not used by this part: {unseen}");
            Ok(Completion::ignored_with(why))
        }
    }
}

/// Binds to the lab's user without rights what the shipped roles grant, with that to run commands in pods, which is
/// not installed: an operator as that user shows that they are enough. The installed one gets no more by it.
pub async fn confine(stage: &Stage) -> Result<(), Failed> {
    let exec = fs::read_to_string(lab::paths::workspace().join("deploy/exec/rbac.yaml"))?;
    let (role, _binding) =
        exec.split_once("\n---\n").ok_or("deploy/exec/rbac.yaml is not a role and a binding")?;
    stage.apply("default", role)?;
    let user = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": CONFINED});
    bind(stage, CONFINED, &user, &[&SHIPPED[..], &["lossless-upgrade-exec"]].concat())?;
    until("the roles are in force", Duration::from_secs(30), async || {
        let question = ["auth", "can-i", "create", "pods", "--subresource=exec", "--as", CONFINED];
        Ok(stage.cluster().kubectl(&question).map(drop).map_err(|error| error.to_string()))
    })
    .await?;
    Ok(())
}

/// The roles that the installed operator has.
pub const SHIPPED: [&str; 2] = ["lossless-upgrade", "lossless-upgrade-drain-counter"];

/// Gives roles to somebody, by bindings of this name.
pub fn bind(stage: &Stage, name: &str, subject: &Value, roles: &[&str]) -> Result<(), ScenarioError> {
    let of_rbac = "rbac.authorization.k8s.io";
    for role in roles {
        let binding = json!({
            "apiVersion": format!("{of_rbac}/v1"), "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("{name}-{role}")},
            "roleRef": {"apiGroup": of_rbac, "kind": "ClusterRole", "name": role},
            "subjects": [subject],
        });
        apply(stage, "default", &binding)?;
    }
    Ok(())
}

/// Whether the user without rights ran commands in pods, and was refused nothing that it tried.
pub async fn sufficed(stage: &Stage) -> Result<(), Failed> {
    let log = tokio::fs::read_to_string(stage.cluster().audit_log()).await?;
    let used = used(&log, CONFINED);
    if !used.refused.is_empty() {
        return Err(format!("{CONFINED} has no right to what it tried: {}", list(&used.refused)).into());
    }
    if !used.rights.keys().any(|right| right.resource == "pods/exec") {
        return Err(format!("{CONFINED} ran no command in a pod: {:?}", used.rights).into());
    }
    Ok(())
}

fn list(rights: &BTreeSet<Right>) -> String {
    rights.iter().map(Right::to_string).collect::<Vec<_>>().join(", ")
}
