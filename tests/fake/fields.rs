//! `metadata.managedFields`, as far as the product reads it: which manager wrote an annotation, and when.

use serde_json::{Value, json};

use super::store::{Author, second};

/// Notes the annotations that differ from before as the author's.
pub fn own(old: &Value, new: &mut Value, author: Author<'_>) {
    let before = &old["metadata"]["annotations"];
    let after = new["metadata"]["annotations"].clone();
    let keys =
        |object: &Value| object.as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
    let mut all: Vec<String> = keys(before);
    all.extend(keys(&after));
    let changed: Vec<String> = all.into_iter().filter(|key| before.get(key) != after.get(key)).collect();
    if changed.is_empty() {
        return;
    }
    let mut entries = new["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    for entry in &mut entries {
        if let Some(owned) = entry["fieldsV1"]["f:metadata"]["f:annotations"].as_object_mut() {
            owned.retain(|field, _| !changed.iter().any(|key| *field == format!("f:{key}")));
        }
    }
    let written: Vec<&String> = changed.iter().filter(|key| after.get(key.as_str()).is_some()).collect();
    if !written.is_empty() {
        let ours = entries.iter().position(|entry| entry["manager"] == author.manager);
        let ours = ours.unwrap_or_else(|| {
            entries.push(json!({
                "manager": author.manager, "operation": "Update", "apiVersion": new["apiVersion"],
                "fieldsType": "FieldsV1", "fieldsV1": {"f:metadata": {"f:annotations": {}}},
            }));
            entries.len() - 1
        });
        for key in written {
            entries[ours]["fieldsV1"]["f:metadata"]["f:annotations"][format!("f:{key}")] = json!({});
        }
        entries[ours]["time"] = json!(second(author.at));
    }
    entries.retain(|entry| {
        entry["fieldsV1"]["f:metadata"]["f:annotations"].as_object().is_some_and(|owned| !owned.is_empty())
    });
    new["metadata"]["managedFields"] = json!(entries);
}
