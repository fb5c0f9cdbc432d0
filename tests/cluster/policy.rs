//! Somebody changes the replicas in mid-run: refused by the policy of `deploy/policy`, and made good
//! where it does not hold.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use lab::balancer::Change;
use lab::paths;
use lab::scenario::{App, Deployed, Run, ScenarioError, Stage, until};
use lab::watcher::Step;
use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::harness::{apply, as_before, begin, is_in, light, lossless};

const POLICY: &str = "lossless-upgrade";

/// Runs kubectl as a user does: what it wrote to standard error, where it failed.
fn kubectl(stage: &Stage, namespace: &str, args: &[&str], manifest: Option<&Value>) -> Result<(), String> {
    let mut kubectl = stage
        .cluster()
        .command("kubectl")
        .args(["--namespace", namespace])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl starts");
    let text = manifest.map(Value::to_string).unwrap_or_default();
    kubectl.stdin.take().expect("an input").write_all(text.as_bytes()).expect("it reads");
    let output = kubectl.wait_with_output().expect("it ends");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(complaint) }
}

/// The manifest of the `StatefulSet` as its owner keeps it, with another image, with `replicas` or without.
async fn manifest(app: &Deployed<'_>, image: &str, replicas: Option<u16>) -> Result<Value, ScenarioError> {
    let mut spec = serde_json::to_value(app.stateful_set().await?.spec)?;
    spec["template"]["spec"]["containers"][0]["image"] = json!(image);
    let fields = spec.as_object_mut().expect("a spec");
    fields.remove("replicas");
    fields.extend(replicas.map(|replicas| ("replicas".to_owned(), json!(replicas))));
    let name = &app.app().name;
    Ok(json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name}, "spec": spec}))
}

const APPLY: &[&str] = &["apply", "-f", "-"];
const APPLY_ON_SERVER: &[&str] = &["apply", "--server-side", "--force-conflicts", "-f", "-"];
const APPLIED_BEFORE: &[&str] = &["apply", "set-last-applied", "--create-annotation", "-f", "-"];

/// By the message alone its reader must know who refuses, why, and how to go on.
fn is_refused(what: &str, outcome: Result<(), String>, reason: &str) {
    let complaint = outcome.err().unwrap_or_else(|| panic!("{what} was not refused"));
    let helps =
        ["LosslessUpgrade nginx is upgrading StatefulSet nginx", reason, "lossless-upgrade.io/abort="];
    for part in helps {
        assert!(complaint.contains(part), "{what}: refused without `{part}`: {complaint}");
    }
}

/// Everything that would take the surge away is refused, and what belongs to an upgrade passes.
pub fn guarded(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        compiled(stage).await?;
        let app = begin(stage, App { replicas: 2, ..App::nginx("guarded") }, |_| {}).await?;
        let run = app
            .run_under(&light(), async {
                app.set_image("lab/nginx:v2").await?;
                is_in(stage, "guarded", "Drain").await?;
                let with = manifest(&app, "lab/app:v2", Some(2)).await?;
                let without = manifest(&app, "lab/app:v2", None).await?;
                refusals(&app, &with).await?;
                passes(&app, &with, &without);
                is_in(stage, "guarded", "Succeeded").await.map(drop)
            })
            .await?;
        lossless(&run)?;
        as_before(&app, "lab/app:v2", &[None]).await?;
        until("the end of the run is known to the policy", Duration::from_secs(10), async || {
            Ok(kubectl(stage, "guarded", &["scale", "statefulset/nginx", "--replicas=1"], None))
        })
        .await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// What the API server thinks of the policy's expressions.
async fn compiled(stage: &Stage) -> Result<(), ScenarioError> {
    let api: Api<ValidatingAdmissionPolicy> = Api::all(stage.cluster().client());
    until("the policy is checked, without a warning", Duration::from_secs(30), async || {
        let checked = api.get(POLICY).await?.status.and_then(|status| status.type_checking);
        let warnings = checked.map(|checking| checking.expression_warnings.unwrap_or_default());
        Ok(if warnings.as_ref().is_some_and(Vec::is_empty) { Ok(()) } else { Err(format!("{warnings:?}")) })
    })
    .await
}

async fn refusals(app: &Deployed<'_>, with: &Value) -> Result<(), ScenarioError> {
    let (stage, namespace) = (app.stage(), app.app().namespace.as_str());
    let by_user = |args: &[&str], manifest: Option<&Value>| kubectl(stage, namespace, args, manifest);
    is_refused("kubectl apply", by_user(APPLY, Some(with)), "spec.replicas 2 instead of 3");
    is_refused("server-side apply", by_user(APPLY_ON_SERVER, Some(with)), "spec.replicas 2 instead of 3");
    is_refused("helm upgrade", release(stage, namespace, with), "spec.replicas 2 instead of 3");
    let scale = ["scale", "statefulset/nginx", "--replicas=5"];
    is_refused("kubectl scale", by_user(&scale, None), "spec.replicas 5 instead of 3");
    let strategy = r#"{"spec": {"updateStrategy": {"type": "RollingUpdate"}}}"#;
    let switch = ["patch", "statefulset/nginx", "--type=merge", "-p", strategy];
    is_refused("RollingUpdate", by_user(&switch, None), "spec.updateStrategy RollingUpdate");
    // As an autoscaler does it, down to the number that the object leaves out.
    let api: Api<StatefulSet> = Api::namespaced(stage.cluster().client(), namespace);
    let mut scale = api.get_scale("nginx").await?;
    scale.spec.get_or_insert_default().replicas = Some(0);
    let put = api.replace_scale("nginx", &PostParams::default(), &scale).await;
    is_refused("PUT of the scale", put.map(drop).map_err(|error| error.to_string()), "0 instead of 3");
    Ok(())
}

/// Upgrades a release whose chart has nothing but this manifest: `helm upgrade --install`, as pipelines call it. The
/// `StatefulSet` is there already and not yet the release's, so it is told to take it, its fields too.
fn release(stage: &Stage, namespace: &str, manifest: &Value) -> Result<(), String> {
    let chart = Path::new(paths::RUN).join(format!("chart-of-{namespace}"));
    fs::create_dir_all(chart.join("templates")).expect("a folder for the chart");
    let about = "apiVersion: v2\nname: shop\nversion: 1.0.0\n";
    fs::write(chart.join("Chart.yaml"), about).expect("the chart is written");
    fs::write(chart.join("templates/set.yaml"), manifest.to_string()).expect("the manifest is written");
    let chart = chart.display().to_string();
    let upgrade = ["upgrade", "--install", "shop", &chart, "-n", namespace];
    let over = ["--take-ownership", "--force-conflicts"];
    let outcome = stage.cluster().helm(&[&upgrade[..], &over[..]].concat());
    outcome.map(drop).map_err(|error| error.to_string())
}

fn passes(app: &Deployed<'_>, with: &Value, without: &Value) {
    let (stage, namespace) = (app.stage(), app.app().namespace.as_str());
    let by_user = |args: &[&str], manifest: Option<&Value>| kubectl(stage, namespace, args, manifest);
    let passes = |what, outcome: Result<(), String>| assert_eq!(outcome, Ok(()), "{what} was refused");
    let as_it_is = ["scale", "statefulset/nginx", "--replicas=3"];
    passes("the number that is there", by_user(&as_it_is, None));
    // Another image is tried, and then applied.
    let image = ["set", "image", "statefulset/nginx", "nginx=lab/nginx:v1", "--dry-run=server"];
    passes("kubectl set image", by_user(&image, None));
    passes("a label", by_user(&["label", "statefulset/nginx", "team=a"], None));
    passes("server-side apply without replicas", by_user(APPLY_ON_SERVER, Some(without)));
    // Where `replicas` was applied once, leaving it out means the default, which is 1.
    passes("a note of what was applied", by_user(APPLIED_BEFORE, Some(with)));
    is_refused("replicas taken out", by_user(APPLY, Some(without)), "spec.replicas 1 instead of 3");
    passes("a note of what was applied", by_user(APPLIED_BEFORE, Some(without)));
    passes("kubectl apply without replicas", by_user(APPLY, Some(without)));
}

/// A policy without the kind of its parameters (the CRD is gone) must not hold up every
/// `StatefulSet` of the cluster: shown on a copy, which does so where it may fail.
pub fn without_crd(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "without-crd"}});
        stage.apply("default", &namespace.to_string())?;
        let set = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "nginx"},
            "spec": {
                "serviceName": "nginx", "replicas": 0, "selector": {"matchLabels": {"app": "nginx"}},
                "template": {
                    "metadata": {"labels": {"app": "nginx"}},
                    "spec": {"containers": [{"name": "nginx", "image": "lab/nginx:v1"}]},
                },
            },
        });
        apply(stage, "without-crd", &set)?;
        let api: Api<ValidatingAdmissionPolicy> = Api::all(stage.cluster().client());
        let mut copy = api.get(POLICY).await?;
        copy.metadata = ObjectMeta { name: Some("without-crd".to_owned()), ..ObjectMeta::default() };
        let spec = copy.spec.as_mut().ok_or("no spec")?;
        let shipped = spec.failure_policy.replace("Fail".to_owned());
        spec.param_kind.get_or_insert_default().kind = Some("Gone".to_owned());
        let only_here =
            BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), "without-crd".to_owned())]);
        spec.match_constraints.get_or_insert_default().namespace_selector =
            Some(LabelSelector { match_labels: Some(only_here), ..LabelSelector::default() });
        api.create(&PostParams::default(), &copy).await?;
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(stage.cluster().client());
        let mut binding = bindings.get(POLICY).await?;
        binding.metadata = copy.metadata.clone();
        binding.spec.get_or_insert_default().policy_name = Some("without-crd".to_owned());
        bindings.create(&PostParams::default(), &binding).await?;
        let label = |value: &str| {
            let label = format!("tried={value}");
            kubectl(stage, "without-crd", &["label", "--overwrite", "statefulset/nginx", &label], None)
        };
        until("a label is refused", Duration::from_secs(30), async || {
            let refused =
                label("first").is_err_and(|complaint| complaint.contains("failed to configure policy"));
            let again = label("second");
            Ok(if refused && again.is_err() { Ok(()) } else { Err(format!("{again:?}")) })
        })
        .await?;
        let patch = Patch::Merge(json!({"spec": {"failurePolicy": shipped}}));
        api.patch("without-crd", &PatchParams::default(), &patch).await?;
        until("a label passes", Duration::from_secs(30), async || Ok(label("third"))).await?;
        bindings.delete("without-crd", &DeleteParams::default()).await?;
        api.delete("without-crd", &DeleteParams::default()).await?;
        Ok(())
    }
    .boxed_local()
}

/// Without the policy the surge is lost to `kubectl apply`, which is noticed, reported and made good.
pub fn unguarded(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let client = stage.cluster().client();
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
        let but_here =
            json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["unguarded"]});
        let selector = json!({"namespaceSelector": {"matchExpressions": [but_here]}});
        let patch = Patch::Merge(json!({"spec": {"matchResources": selector}}));
        bindings.patch(POLICY, &PatchParams::default(), &patch).await?;

        let app = begin(stage, App { replicas: 3, ..App::nginx("unguarded") }, |_| {}).await?;
        let run = app
            .run_under(&light(), async {
                app.set_image("lab/nginx:v2").await?;
                is_in(stage, "unguarded", "Drain").await?;
                let with = manifest(&app, "lab/nginx:v2", Some(3)).await?;
                assert_eq!(kubectl(stage, "unguarded", APPLY, Some(&with)), Ok(()), "the policy still holds");
                is_in(stage, "unguarded", "Succeeded").await.map(drop)
            })
            .await?;
        let events: Api<Event> = Api::namespaced(client, "unguarded");
        let events = events.list(&ListParams::default()).await?;
        if !events.iter().any(|event| event.reason.as_deref() == Some("ReplicasChanged")) {
            return Err("the loss of the surge was not reported".into());
        }
        made_good(&run, "nginx-3")?;
        as_before(&app, "lab/nginx:v2", &[None]).await?;
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// From the loss of the surge pod until it is back nothing else is detached or deleted, and nothing
/// is lost but what the loss itself cut.
fn made_good(run: &Run, surge: &str) -> Result<(), Failed> {
    let lost = run.deletions.iter().find(|deletion| deletion.pod == surge).ok_or("the surge never went")?;
    if lost.was_drained() {
        return Err("the surge was lost with nothing open: this proves nothing".into());
    }
    let step = |step, again: bool| {
        let mut moments = run.moments.iter().filter(|moment| moment.pod == surge && moment.step == step);
        moments.find(|moment| (moment.uid != lost.uid) == again).map(|moment| moment.at)
    };
    let gone = step(Step::Gone, false).ok_or("the surge never ended")?;
    let back = step(Step::Ready, true).ok_or("the surge never came back")?;
    let meanwhile = |at: Timestamp| at >= lost.at && at <= back;
    for applied in run.applied.iter().filter(|applied| meanwhile(applied.at) && applied.pod != surge) {
        match applied.change {
            Change::Added { weight: 0 } | Change::Weight { to: 0, .. } | Change::Removed => {
                return Err(format!("detached while the surge was away: {applied:#?}").into());
            }
            Change::Added { .. } | Change::Weight { .. } => {}
        }
    }
    for deletion in run.deletions.iter().filter(|deletion| deletion.uid != lost.uid) {
        if meanwhile(deletion.at) || !deletion.was_drained() {
            return Err(format!("{surge} was lost at {}, back at {back}: {deletion:#?}", lost.at).into());
        }
    }
    // The balancer is 2 s behind, and one look at it takes a moment.
    let end = gone + SignedDuration::from_secs(4);
    let by_the_fault = |at: Timestamp| at >= lost.at - SignedDuration::from_secs(1) && at <= end;
    if let Some(loss) = run.report.losses.iter().find(|loss| !by_the_fault(loss.at)) {
        return Err(format!("lost, and not by the end of {surge} ({} to {gone}): {loss:?}", lost.at).into());
    }
    println!(
        "    {} of {} requests lost with {surge}, none else; it was back after {} s",
        run.report.lost(),
        run.report.requests(),
        back.duration_since(lost.at).as_secs(),
    );
    Ok(())
}
