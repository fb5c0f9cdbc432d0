//! What the views are made of, as the API server has it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, ResourceExt};

use super::code::CliError;
use crate::api::LosslessUpgrade;
use crate::controller::observe::{self, Listed};
use crate::runtime::clock::Clock;
use crate::workflow::observed::PodView;
use crate::workflow::ordinals::Ordinal;

/// The cluster that is looked at, and when.
#[derive(Clone)]
pub struct Cluster {
    /// Speaks with the API server, by the user's rights.
    pub client: kube::Client,
    /// The namespace that was asked for.
    pub namespace: String,
    /// Time.
    pub clock: Clock,
}

/// A pod as the views show it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The pod as the procedure sees it.
    pub pod: PodView,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// When, at last.
    pub at: Timestamp,
    /// The reason, as events have it.
    pub reason: String,
    /// One sentence.
    pub text: String,
    /// A warning.
    pub warning: bool,
}

impl Cluster {
    /// The objects of the namespace.
    pub fn upgrades(&self) -> Api<LosslessUpgrade> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Objects as they are, also such as this program cannot read in full.
    ///
    /// # Errors
    /// No answer, or the kind is not known.
    pub async fn raw(&self, everywhere: bool) -> Result<Vec<DynamicObject>, CliError> {
        let resource = ApiResource::erase::<LosslessUpgrade>(&());
        let api: Api<DynamicObject> = if everywhere {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
        };
        let list = api.list(&ListParams::default()).await.map_err(|error| match error {
            kube::Error::Api(status) if status.code == 404 => CliError::NotInstalled,
            other => CliError::api("listing the LosslessUpgrades")(other),
        })?;
        // The items of a list have neither, and each stands alone here.
        let types = kube::core::TypeMeta::resource::<LosslessUpgrade>();
        Ok(list.items.into_iter().map(|item| DynamicObject { types: Some(types.clone()), ..item }).collect())
    }

    /// One object.
    ///
    /// # Errors
    /// It is not there, cannot be read, or there is no answer.
    pub async fn upgrade(&self, name: &str) -> Result<LosslessUpgrade, CliError> {
        self.upgrade_if_any(name).await?.ok_or_else(|| CliError::NotFound {
            kind: "LosslessUpgrade",
            resource: "lu",
            name: name.to_owned(),
            namespace: self.namespace.clone(),
        })
    }

    /// One object, if it is there.
    ///
    /// # Errors
    /// It cannot be read, or there is no answer.
    pub async fn upgrade_if_any(&self, name: &str) -> Result<Option<LosslessUpgrade>, CliError> {
        match self.upgrades().get_opt(name).await {
            Ok(found) => Ok(found),
            Err(kube::Error::SerdeError(error)) => {
                Err(CliError::Unreadable { name: name.to_owned(), why: error.to_string() })
            }
            Err(error) => Err(CliError::api(format!("reading LosslessUpgrade {name}"))(error)),
        }
    }

    /// A StatefulSet, if it is there.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn set(&self, name: &str) -> Result<Option<StatefulSet>, CliError> {
        let api: Api<StatefulSet> = Api::namespaced(self.client.clone(), &self.namespace);
        api.get_opt(name).await.map_err(CliError::api(format!("reading StatefulSet {name}")))
    }

    /// The pods of a StatefulSet.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn pods(&self, set: &StatefulSet) -> Result<BTreeMap<Ordinal, Pod>, CliError> {
        Ok(observe::pods_of(&self.client, &self.namespace, set, &mut Listed::default()).await?)
    }

    /// What happened to an object, newest first; nothing where the user may not read events.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn events(&self, object: &LosslessUpgrade) -> Result<Vec<Told>, CliError> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        match api.list(&ListParams::default().fields(&about(object))).await {
            Ok(list) => Ok(newest_first(list.items.iter())),
            Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(Vec::new()),
            Err(error) => Err(CliError::api("listing the events")(error)),
        }
    }
}

/// The field selector of an object's events.
pub fn about(object: &LosslessUpgrade) -> String {
    format!("involvedObject.uid={}", object.uid().unwrap_or_default())
}

/// Pods as the views show them.
pub fn shown<'a>(
    pods: impl IntoIterator<Item = (Ordinal, &'a Pod)>,
    set: Option<&StatefulSet>,
) -> BTreeMap<Ordinal, Shown> {
    let view = |pod: &Pod| Shown {
        pod: observe::pod_view(pod, set, None),
        created: pod.creation_timestamp().map(|at| at.0),
    };
    pods.into_iter().map(|(ordinal, pod)| (ordinal, view(pod))).collect()
}

/// Events as the views show them, newest first.
pub fn newest_first<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<Told> {
    let told = |event: &Event| {
        let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
        let at = series.or(event.event_time.as_ref()).map(|at| at.0);
        let at = at.or_else(|| event.last_timestamp.as_ref().map(|at| at.0))?;
        Some(Told {
            at,
            reason: event.reason.clone().unwrap_or_default(),
            text: event.message.clone().unwrap_or_default(),
            warning: event.type_.as_deref() == Some("Warning"),
        })
    };
    let mut told: Vec<Told> = events.into_iter().filter_map(told).collect();
    told.sort_by_key(|told| std::cmp::Reverse(told.at));
    told
}
