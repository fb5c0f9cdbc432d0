//! What becomes of an object and its StatefulSet, by watches: what `wait` and `status -w` follow.

use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::runtime::watcher::{Error as WatchError, watch_object};
use kube::{Api, ResourceExt};

use super::code::CliError;
use super::fetch::Cluster;
use crate::api::LosslessUpgrade;

/// One change of what is followed.
pub enum Change {
    /// The object as it is now.
    Object(Box<LosslessUpgrade>),
    /// Its StatefulSet as it is now.
    Set(Option<Box<StatefulSet>>),
    /// No answer just now, and why; the watch begins anew by itself.
    Trouble(String),
    /// There is nothing to follow any more, or it never can be.
    Over(CliError),
}

/// The changes from now on, the present state first.
pub fn changes(cluster: &Cluster, object: &LosslessUpgrade) -> BoxStream<'static, Change> {
    let name = object.name_any();
    let sets: Api<StatefulSet> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let set = watch_object(sets, &object.spec.target_ref.name);
    let watched = name.clone();
    let object = watch_object(cluster.upgrades(), &name).map(move |news| match news {
        Ok(Some(object)) => Change::Object(Box::new(object)),
        Ok(None) => {
            Change::Over(CliError::Senseless(format!("LosslessUpgrade {watched} was deleted meanwhile")))
        }
        Err(error) => failed(&watched, &error),
    });
    let set = set.map(move |news| match news {
        Ok(set) => Change::Set(set.map(Box::new)),
        Err(error) => failed(&name, &error),
    });
    stream::select(object, set).boxed()
}

fn failed(name: &str, error: &WatchError) -> Change {
    if is_for_good(error) {
        return Change::Over(CliError::Senseless(format!("{name} cannot be watched: {}", told(error))));
    }
    Change::Trouble(told(error))
}

/// A failure of a watch without the wrapping.
pub fn told(error: &WatchError) -> String {
    match error {
        WatchError::InitialListFailed(kube::Error::Api(status))
        | WatchError::WatchStartFailed(kube::Error::Api(status))
        | WatchError::WatchError(status) => status.message.clone(),
        WatchError::InitialListFailed(error)
        | WatchError::WatchStartFailed(error)
        | WatchError::WatchFailed(error) => error.to_string(),
        WatchError::NoResourceVersion => error.to_string(),
    }
}

/// Trying again would not help: the user has not the right, or the object cannot be read.
fn is_for_good(error: &WatchError) -> bool {
    match error {
        WatchError::InitialListFailed(error) | WatchError::WatchStartFailed(error) => match error {
            kube::Error::Api(status) => matches!(status.code, 401 | 403 | 404),
            kube::Error::SerdeError(_) => true,
            _ => false,
        },
        WatchError::WatchError(_) | WatchError::WatchFailed(_) | WatchError::NoResourceVersion => false,
    }
}
