//! The StatefulSet controller under `OnDelete`: it takes notice of a new spec some time after it was
//! written, keeps revisions, and makes every new pod at the newest one.

use std::ops::Range;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{NAME, NAMESPACE, age, is_ending, name, ordinal, pods, uid};
use crate::fake::call::{Part, Resource};
use crate::fake::store::{Author, Key, Store};

const MANAGER: &str = "statefulset-controller";
/// From a write of the spec until the controller has taken notice.
const LAG: SignedDuration = SignedDuration::from_millis(750);

/// What the controller knows.
#[derive(Default)]
pub struct SetController {
    unnoticed: Option<(i64, Timestamp)>,
    noticed: Option<Noticed>,
}

struct Noticed {
    ordinals: Range<u32>,
    template: Value,
    revision: String,
}

impl SetController {
    pub fn tick(&mut self, store: &mut Store, now: Timestamp) {
        let key = Key::new(Resource::StatefulSets, NAMESPACE, NAME);
        let Ok(set) = store.get(&key).cloned() else { return };
        let author = Author { manager: MANAGER, at: now };
        let generation = set["metadata"]["generation"].as_i64().unwrap_or_default();
        if set["status"]["observedGeneration"].as_i64() == Some(generation) {
            self.unnoticed = None;
        } else {
            let since = self.unnoticed.filter(|(of, _)| *of == generation).map_or(now, |(_, since)| since);
            self.unnoticed = Some((generation, since));
            if age(since, now) >= LAG {
                self.notice(store, &key, Value::clone(&set), author);
            }
        }
        let Some(noticed) = &self.noticed else { return };
        let pods = pods(store);
        let is_missing = |index: &u32| !pods.iter().any(|pod| ordinal(pod) == Some(*index));
        for missing in noticed.ordinals.clone().filter(is_missing) {
            create(store, &set, noticed, missing, author);
        }
        let condemned = |pod: &Value| ordinal(pod).is_some_and(|index| !noticed.ordinals.contains(&index));
        for pod in pods.iter().filter(|pod| condemned(pod) && !is_ending(pod)) {
            let key = Key::new(Resource::Pods, NAMESPACE, name(pod));
            store.delete(&key, &Value::Null, author).expect("the pod is there");
        }
    }

    fn notice(&mut self, store: &mut Store, key: &Key, mut set: Value, author: Author<'_>) {
        let template = set["spec"]["template"].clone();
        let revision = revision(store, &set, &template, author);
        let count = |number: &Value| number.as_u64().and_then(|count| u32::try_from(count).ok());
        let replicas = count(&set["spec"]["replicas"]);
        let first = count(&set["spec"]["ordinals"]["start"]).unwrap_or_default();
        set["status"] = json!({
            "observedGeneration": set["metadata"]["generation"], "replicas": replicas, "updateRevision": revision,
            "currentRevision": set["status"].get("currentRevision").cloned().unwrap_or_else(|| json!(revision)),
        });
        store.replace(key, Part::Status, set, author).expect("the StatefulSet is there");
        let ordinals = first..first + replicas.unwrap_or_default();
        self.noticed = Some(Noticed { ordinals, template, revision });
    }
}

/// The revision of a template: the one that is there, or a new one.
fn revision(store: &mut Store, set: &Value, template: &Value, author: Author<'_>) -> String {
    let mut data = template.clone();
    data["$patch"] = json!("replace");
    let known: Vec<_> = store.list(Resource::Revisions, NAMESPACE).cloned().collect();
    if let Some(same) = known.iter().find(|one| one["data"]["spec"]["template"] == data) {
        return name(same).to_owned();
    }
    let revision = format!("{NAME}-{}", known.len() + 1);
    let object = json!({
        "metadata": {"labels": template["metadata"]["labels"], "ownerReferences": [owner(set)]},
        "data": {"spec": {"template": data}}, "revision": known.len() + 1,
    });
    store
        .create(&Key::new(Resource::Revisions, NAMESPACE, &revision), object, author)
        .expect("a new revision");
    revision
}

fn owner(set: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "name": NAME, "uid": uid(set),
        "controller": true, "blockOwnerDeletion": true,
    })
}

fn create(store: &mut Store, set: &Value, noticed: &Noticed, ordinal: u32, author: Author<'_>) {
    let name = format!("{NAME}-{ordinal}");
    let mut labels = noticed.template["metadata"]["labels"].clone();
    labels["controller-revision-hash"] = json!(noticed.revision);
    labels["statefulset.kubernetes.io/pod-name"] = json!(name);
    labels["apps.kubernetes.io/pod-index"] = json!(ordinal.to_string());
    let pod = json!({
        "metadata": {"labels": labels, "ownerReferences": [owner(set)]},
        "spec": noticed.template["spec"], "status": {"phase": "Pending"},
    });
    store.create(&Key::new(Resource::Pods, NAMESPACE, &name), pod, author).expect("a new pod");
}
