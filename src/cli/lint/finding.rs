//! What a check says, and how it is shown.

use std::fmt;
use std::fmt::Write as _;

use kube::ResourceExt;
use serde::{Serialize, Serializer};

use crate::api::LosslessUpgrade;
use crate::cli::text::{Paint, Tone, wrap};
use crate::workflow::reasons::Reason;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Severity {
    /// A run would not begin, or would lose requests.
    Error,
    /// It may lose requests, take long, or be disturbed.
    Warning,
    /// Good to know.
    Note,
}

/// The checks that the operator has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Check {
    /// A container that serves has no readiness probe.
    NoReadinessProbe,
    /// Nothing holds a pod that somebody else takes.
    NoPreStop,
    /// The grace period is over before the preStop hook is.
    GraceTooShort,
    /// A Service sends to pods that are not Ready.
    NotReadyAddresses,
    /// A Service keeps clients at a pod.
    SessionAffinity,
    /// No budget keeps node drains in bounds.
    NoBudget,
    /// A budget that allows no eviction.
    BudgetAllowsNone,
    /// The surge's claims stay behind.
    SurgeClaimsStay,
    /// A scale-down deletes claims.
    ClaimsAreDeleted,
    /// Pods may be replaced with connections left.
    ProceedsWithConnections,
    /// Clients that no lever reaches go unnoticed.
    NewConnectionsAreNotSeen,
    /// Nothing is detached.
    NothingIsMoved,
    /// Argo CD would put the replicas back.
    ArgoCd,
    /// Flux would put the replicas back.
    Flux,
    /// Helm would put the replicas back.
    Helm,
    /// A quota has no room for the surge.
    QuotaTooSmall,
    /// No node has room for the surge.
    NoRoom,
    /// The user may not read it.
    NotChecked,
}

/// What was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// By the operator too.
    Run(Reason),
    /// Here only.
    Own(Check),
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(reason) => write!(f, "{reason}"),
            Self::Own(check) => write!(f, "{check:?}"),
        }
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was checked.
    pub rule: Rule,
    /// What is there, and where.
    pub what: String,
    /// What that leads to.
    pub means: String,
    /// What to do; none where `what` says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    /// What the operator says itself, with what to do.
    pub fn said(severity: Severity, reason: Reason, text: &str) -> Self {
        let means = match severity {
            Severity::Error => {
                "A run does not begin while this is so; the object is Blocked and nothing is written."
            }
            Severity::Warning | Severity::Note => {
                "A run begins all the same; it may be slow, or be disturbed."
            }
        };
        Self { severity, rule: Rule::Run(reason), what: text.to_owned(), means: means.to_owned(), fix: None }
    }

    /// A finding of a check of this program.
    pub fn own(
        severity: Severity,
        check: Check,
        what: impl Into<String>,
        means: &str,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            rule: Rule::Own(check),
            what: what.into(),
            means: means.into(),
            fix: Some(fix.into()),
        }
    }
}

/// Columns of the headings.
const HEAD: usize = 9;

/// The findings, the worst first.
pub fn view(object: &LosslessUpgrade, findings: &[Finding], paint: Paint) -> String {
    let name = format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any());
    let count = |severity: Severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let plural = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    let counts = [(Severity::Error, "error"), (Severity::Warning, "warning"), (Severity::Note, "note")];
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(severity, word)| (count(severity), word))
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| plural(number, word))
        .collect();
    let counts =
        if counts.is_empty() { "nothing stands against a run".to_owned() } else { counts.join(", ") };
    let mut text = format!("{}: {counts}\n", paint.tone(Tone::Strong, &name));
    for finding in findings {
        let Finding { severity, rule, what, means, fix } = finding;
        let (tone, word) = match severity {
            Severity::Error => (Tone::Bad, "error"),
            Severity::Warning => (Tone::Busy, "warning"),
            Severity::Note => (Tone::Faint, "note"),
        };
        let _ = writeln!(text, "\n{}{rule}", paint.tone(tone, &format!("{word:HEAD$}")));
        block(&mut text, "", what, paint);
        block(&mut text, "means", means, paint);
        if let Some(fix) = fix {
            block(&mut text, "fix", fix, paint);
        }
    }
    text
}

/// A text beside its heading. Lines that are YAML or a command are kept as they are.
fn block(text: &mut String, head: &str, body: &str, paint: Paint) {
    let mut head = head;
    for part in body.lines() {
        let lines = if part.starts_with(' ') {
            vec![part.to_owned()]
        } else {
            wrap(part, paint.width().saturating_sub(HEAD), 0)
        };
        for line in lines {
            let _ = writeln!(text, "{}{line}", paint.tone(Tone::Faint, &format!("{head:HEAD$}")));
            head = "";
        }
    }
}
