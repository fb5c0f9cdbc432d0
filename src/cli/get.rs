//! `get`: the list. One request, no discovery.

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use kube::ResourceExt;
use kube::api::DynamicObject;
use serde_json::json;

use super::code::CliError;
use super::fetch::Cluster;
use super::text::{Cell, Paint, Tone, age, cell, plain, table};
use super::{Answer, Format, object_name, written};
use crate::api::status::{LosslessUpgradeStatus, condition};
use crate::api::{LosslessUpgrade, LosslessUpgradeSpec};
use crate::workflow::state::Phase;

/// Options of `get`.
#[derive(Clone, Debug, Args)]
pub struct GetArgs {
    /// Names of `LosslessUpgrade`s [default: all of the namespace]
    #[arg(value_parser = object_name)]
    names: Vec<String>,
    /// All namespaces
    #[arg(short = 'A', long, conflicts_with = "names")]
    all_namespaces: bool,
    /// How it is written
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Output>,
}

/// What the list is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// More columns
    Wide,
    /// JSON
    Json,
    /// YAML
    Yaml,
    /// Names only
    Name,
}

/// Fetches and shows.
///
/// # Errors
/// No answer, or no such object.
pub async fn run(cluster: &Cluster, args: &GetArgs, paint: Paint) -> Result<Answer, CliError> {
    let mut found = cluster.raw(args.all_namespaces).await?;
    if let Some(missing) = args.names.iter().find(|name| found.iter().all(|one| one.name_any() != **name)) {
        return Err(CliError::NotFound {
            kind: "LosslessUpgrade",
            resource: "lu",
            name: missing.clone(),
            namespace: cluster.namespace.clone(),
        });
    }
    found.retain(|one| args.names.is_empty() || args.names.contains(&one.name_any()));
    let format = match args.output {
        None | Some(Output::Wide) => {
            if found.is_empty() {
                return Ok(Answer::done(nothing(cluster, args.all_namespaces)));
            }
            let wide = args.output == Some(Output::Wide);
            return Ok(Answer::done(view(&found, args.all_namespaces, wide, cluster.clock.now(), paint)));
        }
        Some(Output::Name) => {
            let names =
                found.iter().map(|one| format!("losslessupgrade.lossless-upgrade.io/{}\n", one.name_any()));
            return Ok(Answer::done(names.collect::<String>()));
        }
        Some(Output::Json) => Format::Json,
        Some(Output::Yaml) => Format::Yaml,
    };
    let text = match found.as_slice() {
        [one] if args.names.len() == 1 => written(one, format)?,
        _ => written(&json!({"apiVersion": "v1", "kind": "List", "items": found}), format)?,
    };
    Ok(Answer::done(text))
}

fn nothing(cluster: &Cluster, everywhere: bool) -> String {
    let place =
        if everywhere { "any namespace".to_owned() } else { format!("namespace {}", cluster.namespace) };
    format!(
        "There is no LosslessUpgrade in {place}. `kubectl lu create STATEFULSET` prints one to begin with.\n"
    )
}

/// The list as a table.
pub fn view(found: &[DynamicObject], namespaces: bool, wide: bool, now: Timestamp, paint: Paint) -> String {
    let mut heading = vec!["NAME", "TARGET", "PHASE", "PROGRESS", "AGE", "MESSAGE"];
    if wide {
        heading.splice(5..5, ["FROM", "TO", "BATCH", "CONNECTIONS"]);
    }
    if namespaces {
        heading.insert(0, "NAMESPACE");
    }
    let rows = found.iter().map(|one| {
        let mut row = row(one, wide, now);
        if namespaces {
            row.insert(0, plain(one.namespace().unwrap_or_default()));
        }
        row
    });
    // A line that a program or a wide table asks for is whole.
    let width = paint.screen.filter(|_| !wide).map(|screen| screen.width);
    table(paint, &heading, rows.collect(), width).join("\n") + "\n"
}

fn row(one: &DynamicObject, wide: bool, now: Timestamp) -> Vec<Cell> {
    let age = one.creation_timestamp().map_or_else(|| "-".to_owned(), |at| age(at.0, now));
    let object = serde_json::to_value(one).and_then(serde_json::from_value::<LosslessUpgrade>);
    let LosslessUpgrade { spec, status, .. } = match object {
        Ok(object) => object,
        Err(error) => {
            let why = format!("this kubectl-lu cannot read it: {error}");
            let mut row =
                vec![plain(one.name_any()), plain("-"), cell(Tone::Bad, "?"), plain("-"), plain(age)];
            row.extend((0..if wide { 4 } else { 0 }).map(|_| plain("-")));
            row.push(plain(why));
            return row;
        }
    };
    let status = status.unwrap_or_default();
    let mut row = vec![
        plain(one.name_any()),
        plain(&spec.target_ref.name),
        phase(&spec, &status),
        plain(&status.progress),
        plain(age),
    ];
    if wide {
        let run = status.run.as_ref();
        let or_none =
            |text: Option<String>| plain(text.filter(|text| !text.is_empty()).unwrap_or("-".into()));
        let left: Vec<String> =
            status.pods.iter().filter_map(|pod| pod.connections.map(|left| left.to_string())).collect();
        row.extend([
            or_none(run.map(|run| run.from.clone())),
            or_none(run.map(|run| run.to.clone())),
            or_none(run.map(|run| run.batch.to_string())),
            or_none(Some(left.join(","))),
        ]);
    }
    let message = if status.message.is_empty() { NOT_SEEN.to_owned() } else { status.message };
    row.push(plain(message));
    row
}

/// What is said of an object that the operator has not written into.
pub const NOT_SEEN: &str = "the operator has not looked at it yet; is it running? (`kubectl get pods -A -l app.kubernetes.io/name=lossless-upgrade`)";

/// The phase in one or two words, with what holds it.
pub fn phase(spec: &LosslessUpgradeSpec, status: &LosslessUpgradeStatus) -> Cell {
    let name = format!("{:?}", status.phase);
    if halted(status) {
        return cell(Tone::Bad, format!("{name}, halted"));
    }
    if spec.paused {
        return cell(Tone::Busy, format!("{name}, paused"));
    }
    let stalled = condition(&status.conditions, "Stalled").is_some() && status.run.is_some();
    if stalled {
        return cell(Tone::Bad, format!("{name}, stalled"));
    }
    cell(tone(status.phase), name)
}

/// Whether the run waits for a person.
pub fn halted(status: &LosslessUpgradeStatus) -> bool {
    status.run.as_ref().is_some_and(|run| run.halted.is_some())
}

/// How a phase looks.
pub const fn tone(phase: Phase) -> Tone {
    match phase {
        Phase::Idle | Phase::Succeeded => Tone::Good,
        Phase::Blocked | Phase::RolledBack | Phase::Aborted => Tone::Bad,
        Phase::Preflight
        | Phase::Surge
        | Phase::Detach
        | Phase::Drain
        | Phase::Replace
        | Phase::Verify
        | Phase::Attach
        | Phase::Soak
        | Phase::Reclaim
        | Phase::RollingBack
        | Phase::Aborting => Tone::Busy,
    }
}
