//! Namespaces of the lab's own, entered by the current program running itself again.
//!
//! Three processes carry the same program:
//! - *outside*, which the user started: checks the machine, takes the lock, waits, forwards signals, removes the cgroup;
//! - *init*, process 1 of a new PID namespace: builds what is missing (that needs the network), then makes the other
//!   namespaces and waits for the third; it dies with *outside* (`PR_SET_PDEATHSIG`), even when that is killed;
//! - *inside*, for which [`enter`] returns.
//!
//! When *init* ends, the kernel ends every process in the PID namespace, and with the last of them go the mounts (all of
//! the lab's data is in a tmpfs), the network namespace, its bridge and its sockets. Only the empty cgroups of a killed
//! run remain, and the next run removes them.

mod cgroups;
mod mounts;

use std::{
    convert::Infallible,
    env,
    fs::{self, File, TryLockError},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::PathBuf,
    process::{Command, ExitStatus, exit},
    time::Duration,
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, sethostname},
};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    build,
    error::{AtPath, InCall, LabError},
    images, paths,
    process::run,
    progress::Progress,
    requirements::{self, Missing},
};

/// How a process of the lab knows which of the three it is: its own name, which no child inherits.
const INIT: &str = "lab-init ";
const INSIDE: &str = "lab-inside";

/// How long the lab may take to end after a signal, before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// What has to be built before the sandbox is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The components and the images of the applications.
    Cluster,
    /// The same and the operator's image.
    Operator,
    /// The same and Helm.
    Helm,
}

/// Proof that the program runs inside the sandbox.
#[derive(Debug)]
pub struct Inside {
    pub(crate) need: Need,
}

/// Why the sandbox was not entered.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// The machine lacks something; nothing was begun.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// Something failed on the way.
    #[error(transparent)]
    Lab(#[from] LabError),
}

/// Enters the sandbox: call it first in `main`, before any thread.
///
/// Returns only inside. The process that was started first waits for the one inside and ends with its status.
///
/// # Errors
/// [`EnterError::Missing`] when the machine cannot run the lab, else what failed. What fails while building is printed
/// by the process that builds, and ends the program with status 1.
pub fn enter(need: Need) -> Result<Inside, EnterError> {
    let name = env::args_os().next().unwrap_or_default();
    match name.to_str() {
        Some(INSIDE) => Ok(Inside { need }),
        Some(name) => match name.strip_prefix(INIT) {
            Some(group) => init(group, need),
            None => outside().map(|never| match never {}),
        },
        None => outside().map(|never| match never {}),
    }
}

fn outside() -> Result<Infallible, EnterError> {
    requirements::check()?;
    // Only children are affected: the next one is process 1 of the new namespace.
    unshare(CloneFlags::CLONE_NEWPID).map_err(Missing::Namespaces)?;
    let lock = take_lock()?;
    empty(&paths::scratch())?;
    empty(&paths::logs())?;
    cgroups::sweep()?;
    let group = cgroups::Group::make()?;
    let status = runtime()?.block_on(wait_for_init(&group));
    group.remove()?;
    fs::remove_dir_all(paths::scratch()).at(paths::scratch())?;
    drop(lock);
    exit(code(status?))
}

async fn wait_for_init(group: &cgroups::Group) -> Result<ExitStatus, LabError> {
    let mut stop = StopSignals::new()?;
    let mut child = tokio::process::Command::from(itself(&format!("{INIT}{}", group.name())))
        .spawn()
        .map_err(|source| LabError::Spawn { program: "lab".into(), source })?;
    let ended = tokio::select! {
        ended = child.wait() => ended,
        () = stop.received() => {
            if let Some(id) = child.id() {
                terminate(id);
            }
            if let Ok(ended) = tokio::time::timeout(STOP_LIMIT, child.wait()).await {
                ended
            } else {
                child.kill().await.at("lab-init")?;
                child.wait().await
            }
        }
    };
    ended.at("lab-init")
}

fn init(group: &str, need: Need) -> ! {
    exit(match runtime().and_then(|runtime| runtime.block_on(as_init(group, need))) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error}");
            1
        }
    })
}

async fn as_init(group: &str, need: Need) -> Result<i32, LabError> {
    prctl::set_pdeathsig(Signal::SIGKILL).in_call("prctl(PR_SET_PDEATHSIG)")?;
    // The lock is free only if the process outside died before the line above.
    if open_lock()?.try_lock().is_ok() {
        return Ok(1);
    }
    cgroups::join(group)?;
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWCGROUP
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS,
    )
    .in_call("unshare(mount, cgroup, IPC, UTS)")?;
    sethostname("lab").in_call("sethostname")?;
    mounts::keep_to_ourselves()?;
    cgroups::mount_again()?;

    let mut stop = StopSignals::new()?;
    tokio::select! {
        done = prepare(need) => done?,
        () = stop.received() => return Ok(128 + Signal::SIGTERM as i32),
    }

    let mut children = signal(SignalKind::child()).at("SIGCHLD")?;
    let inside =
        itself(INSIDE).spawn().map_err(|source| LabError::Spawn { program: "lab".into(), source })?.id();
    loop {
        tokio::select! {
            _ = children.recv() => if let Some(code) = reap(inside) { return Ok(code) },
            () = stop.received() => terminate(inside),
        }
    }
}

/// Builds what needs the network, closes the sandbox, and does the rest inside.
async fn prepare(need: Need) -> Result<(), LabError> {
    let progress = Progress::new();
    let programs = build::programs(need, &progress).await?;
    unshare(CloneFlags::CLONE_NEWNET).in_call("unshare(network)")?;
    mounts::cover()?;
    run(tokio::process::Command::new("ip").args(["link", "set", "lo", "up"])).await?;
    images::build(need, &programs, &progress).await
}

/// Buries every child that ended (process 1 inherits orphans); the exit code if `watched` was among them.
fn reap(watched: u32) -> Option<i32> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid.as_raw().cast_unsigned() == watched => {
                code = Some(status);
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid.as_raw().cast_unsigned() == watched => {
                code = Some(128 + signal as i32);
            }
            Ok(WaitStatus::StillAlive) | Err(_) => return code,
            Ok(_) => {}
        }
    }
}

/// The same program with the same arguments under another name.
fn itself(name: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).args(env::args_os().skip(1)).env("PATH", paths::search_path());
    command
}

/// Any signal that stops the lab is passed on as this one; an error means that the process has ended already.
fn terminate(id: u32) {
    let _ = kill(Pid::from_raw(id.cast_signed()), Signal::SIGTERM);
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1)
}

fn runtime() -> Result<tokio::runtime::Runtime, LabError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().at("tokio runtime")
}

fn open_lock() -> Result<File, LabError> {
    let path = paths::cache().join("lock");
    File::options().create(true).truncate(false).write(true).open(&path).at(&path)
}

/// One lab at a time from one folder; a second one waits for its turn.
fn take_lock() -> Result<File, LabError> {
    fs::create_dir_all(paths::cache()).at(paths::cache())?;
    let lock = open_lock()?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            eprintln!("lab: another lab runs from this folder, waiting for its end");
            lock.lock().at("lock").map(|()| lock)
        }
        Err(TryLockError::Error(error)) => Err(error).at("lock"),
    }
}

fn empty(folder: &PathBuf) -> Result<(), LabError> {
    if folder.exists() {
        fs::remove_dir_all(folder).at(folder)?;
    }
    fs::create_dir_all(folder).at(folder)
}

/// The signals that ask a program to stop.
struct StopSignals([tokio::signal::unix::Signal; 3]);

impl StopSignals {
    fn new() -> Result<Self, LabError> {
        let listen = |kind| signal(kind).at("signals");
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    async fn received(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
