//! The sync of one Service or Ingress, again and again, as far behind and as faulty as the controller is told to be.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Resource as _,
    runtime::events::{Event, EventType},
};
use serde_json::Value;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Applied, Behaviour, Fault, Shared,
    front::Front,
    owner::Kind,
    service::{self, Cloud, Read, Stamp},
    wanted::{Wanted, wanted},
    weights::BadAnnotation,
};
use crate::{clock, error::LabError};

/// Wait before a failed sync is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Why a sync came to nothing.
#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error(transparent)]
    Annotation(#[from] BadAnnotation),
    #[error("the cloud API answered InternalError")]
    Cloud,
    #[error("the load balancer could not be changed: {0}")]
    Balancer(#[from] LabError),
    #[error("the change of the load balancer was cut off: {0}")]
    CutOff(#[from] tokio::task::JoinError),
    #[error("the cluster's API: {0}")]
    Api(#[from] kube::Error),
}

impl SyncError {
    /// Reason of its event. One each, for events of one reason are folded into the first one's words.
    fn reason(&self) -> &'static str {
        match self {
            Self::Annotation(_) => "InvalidAnnotation",
            Self::Cloud => "CloudApiFailed",
            Self::Balancer(_) | Self::CutOff(_) => "LoadBalancerFailed",
            Self::Api(_) => "ClusterApiFailed",
        }
    }

    /// Whether the same input may do next time. A bad annotation is bad until someone writes another one.
    fn is_worth_a_retry(&self) -> bool {
        match self {
            Self::Annotation(_) => false,
            Self::Cloud | Self::Balancer(_) | Self::CutOff(_) | Self::Api(_) => true,
        }
    }
}

/// Syncs one Service or Ingress whenever something of it changes, until the handle is dropped.
pub(super) fn start(shared: Arc<Shared>, front: Arc<Front>) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(run(shared, front)))
}

async fn run(shared: Arc<Shared>, front: Arc<Front>) {
    let mut synced = None;
    loop {
        // What changes while a sync runs is kept here, so that one more follows.
        front.changed.notified().await;
        let noticed = clock::now();
        if is_synced(&shared, &front, synced.as_ref()).await {
            continue;
        }
        queue(&shared, &front).await;
        while let Err(error) = sync(&shared, &front, noticed, &mut synced).await
            && error.is_worth_a_retry()
        {
            sleep(RETRY).await;
            queue(&shared, &front).await;
        }
    }
}

/// Whether the last sync read just what is there now. When the API does not answer, the sync will find out.
async fn is_synced(shared: &Shared, front: &Front, synced: Option<&Value>) -> bool {
    match Read::live(&shared.client, &front.owner).await {
        Ok(Some(read)) => synced == Some(&read.fingerprint()),
        Ok(None) => true,
        Err(_) => false,
    }
}

/// Half of the lag, and for ever if the controller is to.
async fn queue(shared: &Shared, front: &Front) {
    let mut behaviour = shared.behaviour.subscribe();
    let lag = behaviour.borrow_and_update().towards(&front.owner).lag;
    sleep(lag / 2).await;
    // The sender lives in `shared`, so this ends only when the fault does.
    let _current = behaviour.wait_for(|now| now.towards(&front.owner).fault != Some(Fault::NeverSync)).await;
}

async fn sync(
    shared: &Arc<Shared>,
    front: &Arc<Front>,
    noticed: Timestamp,
    synced: &mut Option<Value>,
) -> Result<(), SyncError> {
    let behaviour = shared.behaviour.borrow().towards(&front.owner);
    let begin = clock::now();
    let Some(read) = Read::live(&shared.client, &front.owner).await? else { return Ok(()) };
    *synced = Some(read.fingerprint());
    let result = carry_out(shared, front, noticed, begin, &read, behaviour).await;
    tell(shared, &read, &result).await;
    result
}

async fn carry_out(
    shared: &Arc<Shared>,
    front: &Arc<Front>,
    noticed: Timestamp,
    begin: Timestamp,
    read: &Read,
    behaviour: Behaviour,
) -> Result<(), SyncError> {
    let is_tencents = front.owner.kind == Kind::Service && Cloud::of(&read.service) == Cloud::Tencent;
    let stamps = is_tencents && behaviour.fault != Some(Fault::NoStamps);
    if stamps {
        service::stamp(&shared.client, &front.owner, Stamp::Begin, begin).await?;
    }
    let wanted = wanted(read)?;
    sleep(behaviour.lag / 2).await;
    match behaviour.fault {
        Some(Fault::Fail) => return Err(SyncError::Cloud),
        Some(Fault::FailStamped) => {
            if is_tencents {
                service::stamp(&shared.client, &front.owner, Stamp::End, clock::now()).await?;
            }
            return Err(SyncError::Cloud);
        }
        Some(Fault::NeverSync | Fault::NoStamps) | None => {}
    }
    // A task of its own: a controller that is stopped here must not take the balancer with it.
    tokio::spawn(change(Arc::clone(shared), Arc::clone(front), noticed, wanted)).await??;
    if !has_address(read) {
        if is_tencents {
            service::identify(&shared.client, &front.owner, &front.id).await?;
        }
        service::publish(&shared.client, &front.owner, front.address).await?;
    }
    if stamps {
        service::stamp(&shared.client, &front.owner, Stamp::End, clock::now()).await?;
    }
    Ok(())
}

/// Changes the balancer and writes down what was changed.
async fn change(
    shared: Arc<Shared>,
    front: Arc<Front>,
    noticed: Timestamp,
    wanted: Wanted,
) -> Result<(), LabError> {
    let steps = front.apply(&wanted).await?;
    let at = clock::now();
    shared.record(steps.into_iter().map(|(listener, step)| Applied {
        noticed,
        at,
        owner: front.owner.clone(),
        listener,
        pod: step.pod,
        uid: step.uid,
        change: step.change,
    }));
    Ok(())
}

fn has_address(read: &Read) -> bool {
    match &read.ingress {
        None => {
            let status = read.service.status.as_ref();
            let balancer = status.and_then(|status| status.load_balancer.as_ref());
            balancer.and_then(|balancer| balancer.ingress.as_ref()).is_some_and(|all| !all.is_empty())
        }
        Some(ingress) => {
            let status = ingress.status.as_ref();
            let balancer = status.and_then(|status| status.load_balancer.as_ref());
            balancer.and_then(|balancer| balancer.ingress.as_ref()).is_some_and(|all| !all.is_empty())
        }
    }
}

/// Writes the event of a sync. An event that cannot be written is not worth a sync.
async fn tell(shared: &Shared, read: &Read, result: &Result<(), SyncError>) {
    let (type_, reason, note) = match result {
        Ok(()) => (EventType::Normal, "EnsureServiceSuccess", "in step with its load balancer".to_owned()),
        Err(error) => (EventType::Warning, error.reason(), error.to_string()),
    };
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note),
        action: "Sync".to_owned(),
        secondary: None,
    };
    let reference = match &read.ingress {
        None => read.service.object_ref(&()),
        Some(ingress) => ingress.object_ref(&()),
    };
    let _written = shared.recorder.publish(&event, &reference).await;
}
