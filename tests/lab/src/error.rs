//! What can go wrong in the lab.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

/// Why the lab could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A file or folder could not be read, written or made.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A call to the kernel was refused.
    #[error("{call}: {source}")]
    Kernel {
        /// What was asked.
        call: String,
        /// What the kernel said.
        source: nix::Error,
    },
    /// A program could not be started.
    #[error("{program} could not be started: {source}")]
    Spawn {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program that should have done one thing and ended, failed.
    #[error("`{command}` failed ({status}):\n{output}")]
    Command {
        /// The program with its arguments.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// Its last words.
        output: String,
    },
    /// A component that should run as long as the lab ended.
    #[error("{name} ended by itself ({status}); the end of {}:\n{tail}", log.display())]
    Ended {
        /// The component.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Its whole log.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// Something that was waited for did not happen in time.
    #[error("{what} did not happen within {} s; the end of {}:\n{tail}", limit.as_secs(), log.display())]
    TooLate {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
        /// The log of the component that should have done it.
        log: PathBuf,
        /// The last lines of that log.
        tail: String,
    },
    /// A certificate or key could not be made.
    #[error("certificate of the API server: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The kube client could not be made from the lab's own kubeconfig.
    #[error("kubeconfig of the lab: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The API server refused or did not answer.
    #[error("API server of the lab: {0}")]
    Api(#[source] Box<kube::Error>),
}

impl From<kube::Error> for LabError {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

/// Names the path in an input or output error.
pub(crate) trait AtPath<T> {
    /// Says which path the error is about.
    fn at(self, path: impl AsRef<Path>) -> Result<T, LabError>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, path: impl AsRef<Path>) -> Result<T, LabError> {
        self.map_err(|source| LabError::File { path: path.as_ref().to_path_buf(), source })
    }
}

/// Names the call in an error of the kernel.
pub(crate) trait InCall<T> {
    /// Says what was asked of the kernel.
    fn in_call(self, call: impl Into<String>) -> Result<T, LabError>;
}

impl<T> InCall<T> for nix::Result<T> {
    fn in_call(self, call: impl Into<String>) -> Result<T, LabError> {
        self.map_err(|source| LabError::Kernel { call: call.into(), source })
    }
}
