//! How a command ends: exit codes for scripts, and errors that say what to do.

use std::process::ExitCode;

use crate::api::plan::NotAnAmount;
use crate::controller::error::Error as LookError;

/// What `--help` says of the exit codes.
pub const HELP: &str = "\
Exit codes:
  0    done, or all is well
  1    the answer is no: rolled back or aborted, or lint found errors
  2    the question could not be answered: wrong usage, no such object, no answer from the API server
  3    the time of --timeout is over
  4    it waits for a person: blocked, or halted until `retry`, `rollback` or `abort`
  130  Ctrl-C";

/// The exit codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Code {
    /// Done, or all is well.
    #[default]
    Done,
    /// The answer is no.
    Failed,
    /// The question could not be answered.
    Trouble,
    /// The time is over.
    TimeOut,
    /// It waits for a person.
    Stuck,
    /// The user pressed Ctrl-C.
    Interrupted,
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(match code {
            Code::Done => 0,
            Code::Failed => 1,
            Code::Trouble => 2,
            Code::TimeOut => 3,
            Code::Stuck => 4,
            Code::Interrupted => 130,
        })
    }
}

/// What keeps a question from being answered. All of them end with [`Code::Trouble`].
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The API server refused or did not answer.
    #[error("{what}: {source}")]
    Api {
        /// What was being done.
        what: String,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// There is no such object.
    #[error("there is no {kind} {name} in namespace {namespace}; `kubectl get {resource} -A` lists all")]
    NotFound {
        /// In words.
        kind: &'static str,
        /// As kubectl calls it.
        resource: &'static str,
        /// Its name.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// The API server does not know the kind.
    #[error(
        "this cluster does not know LosslessUpgrades: the operator's CRD is not installed (`kubectl apply --server-side -k deploy`), or this is another cluster than you think (--context)"
    )]
    NotInstalled,
    /// The object was written by a newer operator.
    #[error(
        "LosslessUpgrade {name} cannot be read by this kubectl-lu: {why}. Use the one of the operator's version"
    )]
    Unreadable {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The spec has a number that is none.
    #[error(transparent)]
    Amount(#[from] NotAnAmount),
    /// The operator's own look at the cluster failed.
    #[error("{0}")]
    Look(#[from] LookError),
    /// What was asked for makes no sense now.
    #[error("{0}")]
    Senseless(String),
    /// A file cannot be used.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The terminal or the pipe is gone.
    #[error("the output cannot be written: {0}")]
    Output(String),
}

impl CliError {
    /// Wraps an answer of the API server with what was being done.
    pub fn api(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Api { what: what.into(), source: Box::new(source) }
    }

    /// Something that cannot be printed.
    pub fn unwritable(error: impl std::fmt::Display) -> Self {
        Self::Output(error.to_string())
    }
}
