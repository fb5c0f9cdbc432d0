//! The three kinds of patches.

use serde_json::{Map, Value};

use super::answer::Refused;
use super::call::PatchKind;

/// The object as the patch makes it.
pub fn apply(kind: PatchKind, mut object: Value, patch: &Value) -> Result<Value, Refused> {
    match kind {
        PatchKind::Merge => json_patch::merge(&mut object, patch),
        PatchKind::Strategic => strategic(&mut object, patch),
        PatchKind::Json => {
            let patch: json_patch::Patch =
                serde_json::from_value(patch.clone()).map_err(|error| Refused::bad(error.to_string()))?;
            json_patch::patch(&mut object, &patch).map_err(|error| Refused::invalid(error.to_string()))?;
        }
    }
    Ok(object)
}

/// Lists whose elements a strategic merge patch finds by their name.
const BY_NAME: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

fn strategic(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(members) = object else { return };
    for (key, change) in patch {
        match change {
            Value::Null => {
                members.remove(key);
            }
            Value::Array(items) if BY_NAME.contains(&key.as_str()) => {
                let list = members.entry(key).or_insert_with(|| Value::Array(Vec::new()));
                for item in items {
                    into_list(list, item);
                }
            }
            Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                members.insert(key.clone(), change.clone());
            }
            Value::Object(_) => strategic(members.entry(key).or_insert(Value::Null), change),
        }
    }
}

fn into_list(list: &mut Value, item: &Value) {
    let Value::Array(list) = list else { return };
    match list.iter_mut().find(|element| element["name"] == item["name"]) {
        Some(element) => strategic(element, item),
        None => list.push(item.clone()),
    }
}
