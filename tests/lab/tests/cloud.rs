//! The lab's cloud on the lab's cluster: the load balancer's controller keeps the promises that the proof rests on.
//!
//! Where this machine cannot run the lab, it says SKIPPED and why; with `CI=true` that is a failure.

#![expect(clippy::unwrap_used, reason = "a test says by a panic what is not there")]

use std::{future::Future, process::ExitCode, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::Service};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use lab::{
    balancer::{Behaviour, Fault},
    load::Profile,
    progress::Progress,
    sandbox::{EnterError, Need, enter},
    scenario::{App, AppService, Deployed, ScenarioError, Stage, until},
};
use serde_json::json;

const WEIGHTS: &str = "service.cloud.tencent.com/lb-rs-weight";
const BEGIN: &str = "service.cloud.tencent.com/sync-begin-time";
const END: &str = "service.cloud.tencent.com/sync-end-time";
const LIMIT: Duration = Duration::from_secs(20);

type Outcome = Result<(), ScenarioError>;

fn main() -> ExitCode {
    let inside = match enter(Need::Cluster) {
        Ok(inside) => inside,
        Err(EnterError::Missing(missing)) => {
            #[expect(clippy::disallowed_methods, reason = "this is how every CI says that it is one")]
            let must_run = std::env::var("CI").is_ok_and(|value| value == "true");
            eprintln!("SKIPPED: {missing}");
            return if must_run { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
        Err(error @ EnterError::Lab(_)) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let played = runtime.block_on(async {
        let stage = Stage::set(&inside, &Progress::new(), Behaviour::lagging(Duration::ZERO)).await?;
        play(&stage).await?;
        stage.strike().await;
        Ok::<_, ScenarioError>(())
    });
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn play(stage: &Stage) -> Outcome {
    let app = stage
        .deploy(App {
            replicas: 2,
            image: "lab/app:v1".to_owned(),
            services: vec![
                AppService::new("nginx", &[80, 8080]),
                AppService {
                    weights: Some(r#"{"defaultWeight":30}"#.to_owned()),
                    ..AppService::new("other", &[80])
                },
            ],
            ..App::nginx("cloud")
        })
        .await?;
    test("the weights that a Service came with are honoured", weights_of_the_start(&app)).await?;
    test("a weight of 0 is taken over and stamped", detach(stage, &app)).await?;
    test("a write that changes nothing brings no stamp", nothing_new(stage, &app)).await?;
    test("a bad annotation stops the sync until it is mended", bad_annotation(&app)).await?;
    test("a controller that never syncs does so until it is told otherwise", never(stage, &app)).await?;
    test("a failing cloud is tried again", failing(stage, &app)).await?;
    test("the lag is what it was set to", lag(stage, &app)).await?;
    test("deleting a pod under load is seen by the witness", witness(stage, &app)).await?;
    test("the witness takes no probe of the kubelet for a client", slow_probe(stage, &app)).await?;
    app.remove().await
}

async fn test(name: &str, body: impl Future<Output = Outcome>) -> Outcome {
    body.await.inspect_err(|_| println!("FAILED {name}"))?;
    println!("ok     {name}");
    Ok(())
}

async fn annotate(stage: &Stage, value: Option<&str>) -> Result<Timestamp, ScenarioError> {
    let services: Api<Service> = Api::namespaced(stage.cluster().client(), "cloud");
    let patch = json!({"metadata": {"annotations": {WEIGHTS: value}}});
    services.patch("nginx", &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(lab::clock::now())
}

/// Weights of pod `nginx-0` by listener of the Service `nginx`.
async fn weights(app: &Deployed<'_>) -> Vec<(u16, u16)> {
    let backends = app.backends().await;
    let mine = backends.iter().filter(|backend| backend.owner.name == "nginx" && backend.pod == "nginx-0");
    mine.map(|backend| (backend.listener.port, backend.weight)).collect()
}

async fn weights_become(app: &Deployed<'_>, wanted: &[(u16, u16)]) -> Outcome {
    until(&format!("nginx-0 is weighed {wanted:?}"), LIMIT, async || {
        let now = weights(app).await;
        Ok(if now == wanted { Ok(()) } else { Err(format!("{now:?}")) })
    })
    .await
}

async fn stamp(app: &Deployed<'_>, name: &str) -> Result<String, ScenarioError> {
    let annotations = app.service("nginx").await?.metadata.annotations.unwrap_or_default();
    Ok(annotations.get(name).cloned().unwrap_or_default())
}

fn detached(port: u16) -> String {
    let set = json!({"name": "nginx", "weights": [{"weight": 0, "podIndexes": [0]}]});
    let group = json!({"key": {"proto": "TCP", "port": port}, "statefulSets": [set]});
    json!({"defaultWeight": 10, "groups": [group]}).to_string()
}

async fn weights_of_the_start(app: &Deployed<'_>) -> Outcome {
    let backends = app.backends().await;
    let other = backends.iter().filter(|backend| backend.owner.name == "other");
    assert_eq!(other.map(|backend| backend.weight).collect::<Vec<_>>(), [30, 30]);
    assert_eq!(weights(app).await, [(80, 10), (8080, 10)]);
    Ok(())
}

async fn detach(stage: &Stage, app: &Deployed<'_>) -> Outcome {
    // A stamp has seconds only: one strictly after the second of the write is surely of a sync that read it.
    let written = annotate(stage, Some(&detached(80))).await?;
    weights_become(app, &[(80, 0), (8080, 10)]).await?;
    let second = written.as_second();
    until("the end is stamped", LIMIT, async || {
        let (begin, end) = (stamp(app, BEGIN).await?, stamp(app, END).await?);
        let in_order = |begin: &str, end: &str| {
            let (begin, end) = (begin.parse::<Timestamp>().ok()?, end.parse::<Timestamp>().ok()?);
            Some(begin.as_second() >= second - 1 && end >= begin)
        };
        let shown = format!("{begin} to {end}, written at {written}");
        Ok(if in_order(&begin, &end) == Some(true) { Ok(()) } else { Err(shown) })
    })
    .await
}

async fn nothing_new(stage: &Stage, app: &Deployed<'_>) -> Outcome {
    let before = app.service("nginx").await?.metadata.resource_version;
    annotate(stage, Some(&detached(80))).await?;
    // Neither that write nor the controller's own stamps wake it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(app.service("nginx").await?.metadata.resource_version, before);
    Ok(())
}

async fn bad_annotation(app: &Deployed<'_>) -> Outcome {
    let stage = app.stage();
    annotate(stage, Some("{")).await?;
    until("there is a Warning event", LIMIT, async || {
        let events =
            stage.cluster().kubectl(&["get", "events", "-n", "cloud", "--field-selector", "type=Warning"])?;
        Ok(if events.contains(WEIGHTS) { Ok(()) } else { Err(events) })
    })
    .await?;
    assert_eq!(weights(app).await, [(80, 0), (8080, 10)]);
    annotate(stage, Some(&detached(8080))).await?;
    weights_become(app, &[(80, 10), (8080, 0)]).await
}

async fn never(stage: &Stage, app: &Deployed<'_>) -> Outcome {
    stage.balancer().set(Behaviour { lag: Duration::ZERO, fault: Some(Fault::NeverSync) });
    annotate(stage, None).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(weights(app).await, [(80, 10), (8080, 0)]);
    stage.balancer().set(Behaviour::lagging(Duration::ZERO));
    weights_become(app, &[(80, 10), (8080, 10)]).await
}

async fn failing(stage: &Stage, app: &Deployed<'_>) -> Outcome {
    stage.balancer().set(Behaviour { lag: Duration::ZERO, fault: Some(Fault::Fail) });
    annotate(stage, Some(&detached(80))).await?;
    until("the failure is an event", LIMIT, async || {
        let events =
            stage.cluster().kubectl(&["get", "events", "-n", "cloud", "--field-selector", "type=Warning"])?;
        Ok(if events.contains("InternalError") { Ok(()) } else { Err(events) })
    })
    .await?;
    stage.balancer().set(Behaviour::lagging(Duration::ZERO));
    weights_become(app, &[(80, 0), (8080, 10)]).await
}

async fn lag(stage: &Stage, app: &Deployed<'_>) -> Outcome {
    stage.balancer().set(Behaviour::lagging(Duration::from_secs(3)));
    let written = annotate(stage, None).await?;
    weights_become(app, &[(80, 10), (8080, 10)]).await?;
    let applied = stage.balancer().applied();
    let last = applied.last().unwrap();
    let took = last.at.duration_since(written).as_secs_f64();
    assert!((3.0..4.0).contains(&took), "{took} s");
    stage.balancer().set(Behaviour::default());
    Ok(())
}

async fn witness(stage: &Stage, app: &Deployed<'_>) -> Outcome {
    let profile = Profile { long_path: "/slow".to_owned(), ..Profile::default() };
    let run = app
        .run_under(&profile, async {
            stage.cluster().kubectl(&["delete", "pod", "-n", "cloud", "nginx-1"])?;
            app.in_rotation().await
        })
        .await?;
    let [deletion] = run.deletions.as_slice() else { unreachable!("{:?}", run.deletions) };
    assert_eq!((deletion.pod.as_str(), deletion.backends.len()), ("nginx-1", 3));
    let open = deletion.connections.clone().unwrap();
    assert!(!open.is_empty() && open.iter().all(|one| one.holder.as_deref() == Some("haproxy")), "{open:?}");
    assert!(deletion.backends.iter().map(|backend| backend.sessions).sum::<u64>() > 0);
    assert!(!deletion.was_drained());
    assert!(run.report.lost() > 0, "{}", run.report);
    assert!(run.report.servers.keys().all(|server| !server.pod.is_empty() && server.version == "v1"));
    Ok(())
}

/// The probe takes 8 s, and the next one begins at once: one is under way whenever the pod is deleted.
async fn slow_probe(stage: &Stage, app: &Deployed<'_>) -> Outcome {
    let probe = json!({"httpGet": {"path": "/slow", "port": 80}, "timeoutSeconds": 20});
    let containers = json!([{"name": "nginx", "readinessProbe": probe}]);
    let sets: Api<StatefulSet> = Api::namespaced(stage.cluster().client(), "cloud");
    let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    sets.patch("nginx", &PatchParams::default(), &Patch::Strategic(patch)).await?;
    app.rolled_out().await?;
    let run = app
        .run_under(&Profile::none(), async {
            stage.cluster().kubectl(&["delete", "pod", "-n", "cloud", "nginx-1"])?;
            Ok(())
        })
        .await?;
    let [deletion] = run.deletions.as_slice() else { unreachable!("{:?}", run.deletions) };
    assert_eq!((deletion.connections.as_deref(), deletion.probes), (Some(&[][..]), 1));
    Ok(())
}
