//! The objects, as the API server keeps them: versions, identities, who wrote what when, deletion in
//! two steps, and every change for those who watch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::answer::Refused;
use super::call::{Part, PatchKind, Resource};
use super::{fields, patch};

/// The first version; what is older is too old to be watched from.
const FIRST_VERSION: u64 = 1000;
/// What the server owns: nobody else writes it.
const OWNED: [&str; 6] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "managedFields",
];

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub resource: Resource,
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(resource: Resource, namespace: &str, name: &str) -> Self {
        Self { resource, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    fn words(&self) -> String {
        format!("{} \"{}\"", self.resource.plural(), self.name)
    }
}

/// Who does something, and when.
#[derive(Clone, Copy, Debug)]
pub struct Author<'a> {
    pub manager: &'a str,
    /// Time of the server.
    pub at: Timestamp,
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    Added,
    Modified,
    Deleted,
}

/// One change.
#[derive(Clone, Debug)]
pub struct Change {
    pub at: Timestamp,
    pub version: u64,
    pub became: Became,
    pub key: Key,
    pub object: Arc<Value>,
}

/// A deletion that began.
#[derive(Clone, Debug)]
pub struct Deletion {
    pub manager: String,
    pub at: Timestamp,
    pub object: Arc<Value>,
}

/// The objects.
#[derive(Debug)]
pub struct Store {
    version: u64,
    uids: u64,
    objects: BTreeMap<Key, Arc<Value>>,
    /// Every change, oldest first.
    pub history: Vec<Change>,
    /// Pods whose deletion began, oldest first.
    pub deletions: Vec<Deletion>,
    /// Logs of containers, by pod uid and container: each line, and when it was written.
    pub logs: BTreeMap<(String, String), Vec<(Timestamp, String)>>,
    /// Uids of the pods whose node does not answer, so that their logs cannot be had.
    pub unreachable: BTreeSet<String>,
}

impl Store {
    pub const fn new() -> Self {
        Self {
            version: FIRST_VERSION,
            uids: 0,
            objects: BTreeMap::new(),
            history: Vec::new(),
            deletions: Vec::new(),
            logs: BTreeMap::new(),
            unreachable: BTreeSet::new(),
        }
    }

    pub const fn version(&self) -> u64 {
        self.version
    }

    pub fn get(&self, key: &Key) -> Result<&Arc<Value>, Refused> {
        self.objects.get(key).ok_or_else(|| Refused::not_found(&key.words()))
    }

    /// All objects of a kind, in one namespace or, where that is empty, in all.
    pub fn list<'a>(
        &'a self,
        resource: Resource,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Value>> {
        let ours =
            move |key: &Key| key.resource == resource && (namespace.is_empty() || key.namespace == namespace);
        self.objects.iter().filter(move |(key, _)| ours(key)).map(|(_, object)| object)
    }

    /// The objects as they were at a time.
    pub fn as_of(&self, at: Timestamp) -> Self {
        let mut past = Self::new();
        for change in self.history.iter().take_while(|change| change.at <= at) {
            past.version = change.version;
            match change.became {
                Became::Added | Became::Modified => {
                    past.objects.insert(change.key.clone(), change.object.clone());
                }
                Became::Deleted => {
                    past.objects.remove(&change.key);
                }
            }
        }
        past.unreachable.clone_from(&self.unreachable);
        past.logs.clone_from(&self.logs);
        past.logs.values_mut().for_each(|log| log.retain(|(written, _)| *written <= at));
        past
    }

    /// The changes after `version`, or that they are not known any more.
    pub fn since(&self, version: u64) -> Result<&[Change], Refused> {
        if version < FIRST_VERSION {
            return Err(Refused::expired(version));
        }
        let from = self.history.partition_point(|change| change.version <= version);
        Ok(&self.history[from..])
    }

    pub fn create(
        &mut self,
        key: &Key,
        mut object: Value,
        author: Author<'_>,
    ) -> Result<Arc<Value>, Refused> {
        if self.objects.contains_key(key) {
            return Err(Refused::exists(&key.words()));
        }
        self.uids += 1;
        let resource = key.resource;
        object["apiVersion"] = json!(resource.api_version());
        object["kind"] = json!(resource.kind());
        let metadata = &mut object["metadata"];
        metadata["name"] = json!(key.name);
        if !key.namespace.is_empty() {
            metadata["namespace"] = json!(key.namespace);
        }
        metadata["uid"] = json!(format!("uid-{}", self.uids));
        metadata["creationTimestamp"] = json!(second(author.at));
        if object.get("spec").is_some() {
            object["metadata"]["generation"] = json!(1);
        }
        fields::own(&Value::Null, &mut object, author);
        Ok(self.keep(key, object, Became::Added, author))
    }

    /// A patch, carried out. With `dry` it is only looked at.
    pub fn patch(
        &mut self,
        key: &Key,
        part: Part,
        kind: PatchKind,
        change: &Value,
        dry: bool,
        author: Author<'_>,
    ) -> Result<Arc<Value>, Refused> {
        let new = patch::apply(kind, Value::clone(self.get(key)?), change)?;
        if new["metadata"]["uid"] != self.get(key)?["metadata"]["uid"] {
            return Err(Refused::invalid(format!("{}: metadata.uid: field is immutable", key.words())));
        }
        self.update(key, part, new, dry, author)
    }

    /// A PUT of the whole object or of its status.
    pub fn replace(
        &mut self,
        key: &Key,
        part: Part,
        new: Value,
        author: Author<'_>,
    ) -> Result<Arc<Value>, Refused> {
        let uid = &new["metadata"]["uid"];
        if !uid.is_null() && *uid != self.get(key)?["metadata"]["uid"] {
            return Err(Refused::conflict(format!(
                "{}: Precondition failed: UID in precondition",
                key.words()
            )));
        }
        self.update(key, part, new, false, author)
    }

    fn update(
        &mut self,
        key: &Key,
        part: Part,
        new: Value,
        dry: bool,
        author: Author<'_>,
    ) -> Result<Arc<Value>, Refused> {
        let old = self.get(key)?.clone();
        let version = &new["metadata"]["resourceVersion"];
        if version.as_str().is_some_and(|version| !version.is_empty())
            && *version != old["metadata"]["resourceVersion"]
        {
            return Err(Refused::conflict(format!("{}: the object has been modified", key.words())));
        }
        let mut new = only(part, &old, new)?;
        for field in OWNED.into_iter().chain(["resourceVersion"]) {
            restore(&mut new["metadata"], &old["metadata"], field);
        }
        if new == *old || dry {
            return Ok(Arc::new(new));
        }
        if new.get("spec") != old.get("spec") && old["metadata"]["generation"].is_number() {
            new["metadata"]["generation"] =
                json!(old["metadata"]["generation"].as_i64().unwrap_or_default() + 1);
        }
        fields::own(&old, &mut new, author);
        let let_go = new["metadata"]["deletionTimestamp"].is_string() && !held(&new);
        let became =
            if let_go && key.resource != Resource::Pods { Became::Deleted } else { Became::Modified };
        Ok(self.keep(key, new, became, author))
    }

    /// A deletion as it is asked for: at once, or when those who hold the object let go.
    pub fn delete(&mut self, key: &Key, options: &Value, author: Author<'_>) -> Result<Arc<Value>, Refused> {
        let old = self.get(key)?.clone();
        for (field, name) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
            let wanted = &options["preconditions"][field];
            if !wanted.is_null() && *wanted != old["metadata"][field] {
                return Err(Refused::conflict(format!("{}: Precondition failed: {name}", key.words())));
            }
        }
        if old["metadata"]["deletionTimestamp"].is_string() {
            return Ok(old);
        }
        let mut new = Value::clone(&old);
        // A pod that runs ends in its own time.
        let runs = key.resource == Resource::Pods && new["spec"]["nodeName"].is_string();
        if key.resource == Resource::Pods {
            self.deletions.push(Deletion { manager: author.manager.to_owned(), at: author.at, object: old });
        }
        let gone = !runs && !held(&new);
        if gone && key.resource != Resource::Pods {
            return Ok(self.keep(key, new, Became::Deleted, author));
        }
        let asked = options["gracePeriodSeconds"].as_i64().or_else(|| gone.then_some(0));
        let grace = asked.or_else(|| new["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30);
        let end = author.at.checked_add(SignedDuration::from_secs(grace)).unwrap_or(author.at);
        new["metadata"]["deletionTimestamp"] = json!(second(end));
        new["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        let ending = self.keep(key, new, Became::Modified, author);
        // Also a pod that never ran is seen on its way out before it is gone.
        if gone { Ok(self.keep(key, Value::clone(&ending), Became::Deleted, author)) } else { Ok(ending) }
    }

    /// The kubelet says that nothing of the pod is left.
    pub fn remove(&mut self, key: &Key, author: Author<'_>) {
        if let Some(object) = self.objects.get(key).cloned() {
            self.keep(key, Value::clone(&object), Became::Deleted, author);
        }
    }

    fn keep(&mut self, key: &Key, mut object: Value, became: Became, author: Author<'_>) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(object);
        match became {
            Became::Added | Became::Modified => {
                self.objects.insert(key.clone(), object.clone());
            }
            Became::Deleted => {
                self.objects.remove(key);
            }
        }
        let change =
            Change { at: author.at, version: self.version, became, key: key.clone(), object: object.clone() };
        self.history.push(change);
        object
    }
}

/// Takes only what this address of the object may change.
fn only(part: Part, old: &Value, mut new: Value) -> Result<Value, Refused> {
    match part {
        Part::Whole => {
            restore(&mut new, old, "status");
            Ok(new)
        }
        Part::Status => {
            let mut object = old.clone();
            restore(&mut object, &new, "status");
            Ok(object)
        }
        Part::EphemeralContainers => {
            let list = |object: &Value| {
                object["spec"]["ephemeralContainers"].as_array().cloned().unwrap_or_default()
            };
            let (had, has) = (list(old), list(&new));
            if had.iter().any(|container| !has.contains(container)) {
                return Err(Refused::invalid(
                    "spec.ephemeralContainers: existing ephemeral containers may not be changed or removed",
                ));
            }
            let mut object = old.clone();
            if !has.is_empty() {
                object["spec"]["ephemeralContainers"] = json!(has);
            }
            Ok(object)
        }
        Part::Log => Err(Refused::bad("a log is not written through the API")),
    }
}

fn restore(object: &mut Value, from: &Value, field: &str) {
    let Value::Object(members) = object else { return };
    match from.get(field) {
        Some(value) => {
            members.insert(field.to_owned(), value.clone());
        }
        None => {
            members.shift_remove(field);
        }
    }
}

fn held(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
}

/// A time as metadata has it: whole seconds.
pub fn second(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

/// `by` before `at`.
pub fn before(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}
