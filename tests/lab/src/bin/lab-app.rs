//! The first process of the lab's test images: it starts the server named by its arguments and stands between
//! it and the signals of the kubelet, so that an image can be made to behave badly by its environment alone:
//!
//! | variable | effect |
//! |---|---|
//! | `DEAF=1` | SIGTERM and SIGQUIT never reach the server: only the kubelet's SIGKILL ends it |
//! | `NEVER_READY=1` | the server is never started, so no readiness probe is ever answered |
//! | `CRASH_HOSTS=nginx-0,nginx-1` | on these host names only, the program ends with status 1 ... |
//! | `CRASH_AFTER=20` | ... this many seconds after it started (default 20) |
//!
//! Without any of them signals are handed on unchanged, and the program ends as the server does.

use std::{
    env, fs, io,
    process::{Child, Command, ExitCode},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use signal_hook::{
    consts::{SIGCHLD, SIGQUIT, SIGTERM},
    iterator::Signals,
};

/// What the environment asks for.
struct Behaviour {
    deaf: bool,
    never_ready: bool,
    crash_after: Option<Duration>,
}

impl Behaviour {
    #[expect(clippy::disallowed_methods, reason = "an image's environment is this program's only setting")]
    fn from_environment(host: &str) -> Self {
        let is_set = |name: &str| env::var(name).is_ok_and(|value| value == "1");
        let hosts = env::var("CRASH_HOSTS").unwrap_or_default();
        let seconds = env::var("CRASH_AFTER").ok().and_then(|value| value.parse().ok()).unwrap_or(20);
        let crashes = hosts.split(',').any(|name| name.trim() == host);
        Self {
            deaf: is_set("DEAF"),
            never_ready: is_set("NEVER_READY"),
            crash_after: crashes.then(|| Duration::from_secs(seconds)),
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab-app: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<ExitCode> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname")?;
    let behaviour = Behaviour::from_environment(host.trim());
    let signals = listen()?;
    let mut server = if behaviour.never_ready { None } else { Some(start()?) };
    loop {
        // The wait is for the crash where one was asked for; without one only signals matter.
        let signal = match behaviour.crash_after {
            Some(time) => signals.recv_timeout(time),
            None => signals.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match signal {
            Ok(SIGCHLD) => {
                let Some(server) = &mut server else { continue };
                if let Some(status) = server.try_wait()? {
                    return Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
                }
            }
            Ok(_) if behaviour.deaf => {}
            Ok(signal) => match &server {
                Some(server) => hand_on(server, signal)?,
                None => return Ok(ExitCode::SUCCESS),
            },
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                if let Some(mut server) = server {
                    server.kill()?;
                }
                eprintln!("lab-app: crashing on {host}, as CRASH_HOSTS asks");
                return Ok(ExitCode::FAILURE);
            }
        }
    }
}

/// Signals as messages, so that one loop can wait for them and for the time of the crash. The handlers are
/// there in the deaf case too: a handler, unlike "ignore", is not inherited by the server.
fn listen() -> io::Result<Receiver<i32>> {
    let mut signals = Signals::new([SIGTERM, SIGQUIT, SIGCHLD])?;
    let (sender, receiver) = channel();
    thread::spawn(move || signals.forever().all(|signal| sender.send(signal).is_ok()));
    Ok(receiver)
}

fn start() -> io::Result<Child> {
    let mut arguments = env::args_os().skip(1);
    let program = arguments.next().ok_or_else(|| io::Error::other("name the server to start"))?;
    Command::new(program).args(arguments).spawn()
}

fn hand_on(server: &Child, signal: i32) -> io::Result<()> {
    let signal = Signal::try_from(signal)?;
    let pid = i32::try_from(server.id()).map_err(io::Error::other)?;
    Ok(kill(Pid::from_raw(pid), signal)?)
}
