//! The queries of the dashboards, as Grafana would send them.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// One query.
#[derive(Clone, Debug)]
pub struct Query {
    /// Dashboard and panel, for messages.
    pub of: String,
    pub expr: String,
}

/// All queries of all dashboards, with their variables set to this object and to one minute.
pub fn queries(namespace: &str, name: &str) -> Vec<Query> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/dashboard");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    files.sort_unstable();
    // The longer names first: one is the beginning of another.
    let variables =
        [("$__rate_interval", "1m"), ("$__range", "1m"), ("$namespace", namespace), ("$name", name)];
    let filled =
        |expr: &str| variables.iter().fold(expr.to_owned(), |text, (from, to)| text.replace(from, to));
    let mut queries = Vec::new();
    for file in files {
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let title = dashboard["title"].as_str().unwrap();
        for panel in list(&dashboard["panels"]) {
            for target in list(&panel["targets"]) {
                queries.push(Query {
                    of: format!("{title}, {}", panel["title"]),
                    expr: filled(target["expr"].as_str().unwrap()),
                });
            }
        }
        for variable in list(&dashboard["templating"]["list"]) {
            let Some(query) = variable["query"]["query"].as_str() else { continue };
            let (series, _) = query.strip_prefix("label_values(").unwrap().rsplit_once(", ").unwrap();
            let of = format!("{title}, the variable {}", variable["name"]);
            queries.push(Query { of, expr: filled(series) });
        }
    }
    queries
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
