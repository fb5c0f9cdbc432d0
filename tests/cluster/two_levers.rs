//! Two levers at once in a run that its user ends before its time: a cloud's weight for the clients outside, a label for
//! those inside.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::{FutureExt, LocalBoxFuture};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use lab::load::Profile;
use lab::scenario::{App, AppService, Deployed, Reached, Run, ScenarioError, Stage, until};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::harness::{act, as_before, begin, drains, is_in, lossless, object_is, objects, phase, uids};
use crate::labels::all_serve;

const NAMESPACE: &str = "two-steered";

/// What stands on the Service before, as its owner wrote it.
const OWN: &str = r#"{ "defaultWeight":10, "owner" : "team a",
    "groups":[{"key":{"proto":"TCP","port":80},"statefulSets":[{"name":"other","weights":[{"weight":5,"podIndexes":[1]}]}]}]}"#;

fn both() -> Value {
    json!([{"tkeService": {}}, {"podLabel": {"key": "serving"}}])
}

/// Aborted while a pod is out and a lever has left the spec; gone on with; rolled back after one pod is upgraded.
pub fn steered(stage: &'static Stage) -> LocalBoxFuture<'static, Result<(), Failed>> {
    async move {
        let balanced = AppService { weights: Some(OWN.into()), ..AppService::new("nginx", &[80]) };
        let services = vec![balanced, AppService::by_label("inside", Reached::ClusterIp)];
        let grace = Duration::from_secs(5);
        let app = App { replicas: 3, grace, services, ..App::nginx(NAMESPACE) };
        let app = begin(stage, app, |spec| spec["traffic"]["levers"] = both()).await?;
        let before = uids(&app).await?;
        // Requests that are longer than the grace.
        let load = Profile { long_path: "/slow".into(), ..Profile::default() };
        let aborted = app
            .run_under(
                &load,
                Box::pin(async {
                    app.set_image("lab/nginx:v2").await?;
                    drains(stage, NAMESPACE, 0).await?;
                    set_levers(stage, &json!([{"tkeService": {}}])).await?;
                    assert_eq!(phase(&objects(stage, NAMESPACE).get("nginx").await?), "Drain");
                    assert_eq!(out(&app).await?.len(), 1, "it is out by the lever that left the spec, too");
                    act(stage, NAMESPACE, "abort").await?;
                    is_in(stage, NAMESPACE, "Aborted").await.map(drop)
                }),
            )
            .await?;
        all_as_before(&app, &aborted).await?;
        assert_eq!(uids(&app).await?, before, "a pod was replaced");

        let rolled_back = app
            .run_under(
                &load,
                Box::pin(async {
                    set_levers(stage, &both()).await?;
                    act(stage, NAMESPACE, "retry").await?;
                    drains(stage, NAMESPACE, 1).await?;
                    assert_eq!(out(&app).await?.len(), 1);
                    act(stage, NAMESPACE, "rollback").await?;
                    is_in(stage, NAMESPACE, "RolledBack").await.map(drop)
                }),
            )
            .await?;
        all_as_before(&app, &rolled_back).await?;
        let kept = uids(&app).await?.iter().filter(|(name, uid)| before.get(*name) == Some(*uid)).count();
        assert_eq!(kept, 2, "only the pod that was upgraded had to be replaced");
        app.remove().await?;
        Ok(())
    }
    .boxed_local()
}

/// Sets the levers of the spec, and waits until the operator has seen that.
async fn set_levers(stage: &Stage, levers: &Value) -> Result<(), ScenarioError> {
    let patch = Patch::Merge(json!({"spec": {"traffic": {"levers": levers}}}));
    let edited = objects(stage, NAMESPACE).patch("nginx", &PatchParams::default(), &patch).await?;
    object_is(stage, NAMESPACE, "the edit is seen", Duration::from_secs(10), |object| {
        object.status.as_ref().map(|status| status.observed_generation) >= edited.metadata.generation
    })
    .await
    .map(drop)
}

/// The pods that are out: by both levers or by none.
async fn out(app: &Deployed<'_>) -> Result<BTreeSet<String>, ScenarioError> {
    let pods = app.pods().await?;
    let unlabelled: BTreeSet<_> =
        pods.iter().filter(|pod| !pod.labels().contains_key("serving")).map(ResourceExt::name_any).collect();
    let backends = app.backends().await.into_iter();
    let weighed: BTreeSet<_> = backends.filter(|one| one.weight == 0).map(|one| one.pod).collect();
    assert_eq!(unlabelled, weighed, "out by the label, and out by the weight");
    Ok(weighed)
}

/// Nothing lost, every pod at the old version, both levers as before, and every pod reached by both ways.
async fn all_as_before(app: &Deployed<'_>, run: &Run) -> Result<(), Failed> {
    lossless(run)?;
    as_before(app, "lab/nginx:v1", &[Some(OWN.to_owned()), None]).await?;
    all_serve(app).await?;
    all_in_slices(app).await?;
    app.in_rotation().await?;
    Ok(())
}

/// The slices of each Service have just the pods that there are, all ready.
async fn all_in_slices(app: &Deployed<'_>) -> Result<(), ScenarioError> {
    let client = app.stage().cluster().client();
    let slices: Api<EndpointSlice> = Api::namespaced(client, &app.app().namespace);
    until("every pod is in the EndpointSlices", Duration::from_secs(10), async || {
        let pods: BTreeSet<_> = uids(app).await?.into_values().collect();
        for service in &app.app().services {
            let of_service = format!("kubernetes.io/service-name={}", service.name);
            let found = slices.list(&ListParams::default().labels(&of_service)).await?;
            let endpoints = found.items.into_iter().flat_map(|slice| slice.endpoints);
            let ready =
                endpoints.filter(|one| one.conditions.as_ref().and_then(|all| all.ready) == Some(true));
            let there: BTreeSet<_> = ready.filter_map(|one| one.target_ref?.uid).collect();
            if there != pods {
                return Ok(Err(format!("{}: {there:?} instead of {pods:?}", service.name)));
            }
        }
        Ok(Ok(()))
    })
    .await
}
