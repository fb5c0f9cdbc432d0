//! One `HAProxy` process: the load balancer of one Service.

use std::{
    fmt::Write as _,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    fs,
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    process::Command,
    time::{Instant, sleep, timeout},
};

use super::slots::SLOTS;
use crate::{
    error::{AtPath as _, LabError},
    process::{Process, tail},
};

/// Longest wait for the process to listen, and for one answer of its runtime API.
const ANSWER: Duration = Duration::from_secs(5);

/// How often the process is asked whether it listens.
const POLL: Duration = Duration::from_millis(20);

/// A running `HAProxy`. It is killed when this is dropped.
#[derive(Debug)]
pub(super) struct Haproxy {
    process: Process,
    socket: PathBuf,
}

/// What `HAProxy` says of one server slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotState {
    pub(super) port: u16,
    pub(super) slot: usize,
    pub(super) weight: u16,
    pub(super) sessions: u64,
}

impl Haproxy {
    /// Starts one that listens on `ports` of `address`. Its files go to `directory`, which must be its own.
    pub(super) async fn start(directory: &Path, address: IpAddr, ports: &[u16]) -> Result<Self, LabError> {
        fs::create_dir_all(directory).await.at(directory)?;
        let socket = directory.join("api.sock");
        let _left_over = fs::remove_file(&socket).await;
        let configuration = directory.join("haproxy.cfg");
        fs::write(&configuration, render(&socket, address, ports)).await.at(&configuration)?;
        // Services that share an address have a process each.
        let of = directory.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("haproxy-{address}-{of}");
        let process =
            Process::spawn(&name, Command::new("haproxy").arg("-db").arg("-f").arg(&configuration))?;
        let mut haproxy = Self { process, socket };
        haproxy.answers().await?;
        Ok(haproxy)
    }

    async fn answers(&mut self) -> Result<(), LabError> {
        let start = Instant::now();
        while self.tell("show info").await.is_err() {
            self.process.check()?;
            if start.elapsed() > ANSWER {
                let (what, log) = ("HAProxy answers".to_owned(), self.process.log().to_owned());
                return Err(LabError::TooLate { what, limit: ANSWER, tail: tail(&log), log });
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Sends one line to the runtime API and returns what it answers.
    pub(super) async fn tell(&self, line: &str) -> io::Result<String> {
        let exchange = async {
            let mut stream = UnixStream::connect(&self.socket).await?;
            stream.write_all(format!("{line}\n").as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(answer)
        };
        timeout(ANSWER, exchange).await?
    }

    /// Carries out changes, all of them or an error that says which one was refused.
    pub(super) async fn change(&self, commands: &[String]) -> io::Result<()> {
        for command in commands {
            let answer = self.tell(command).await?;
            // A change that was made has an empty answer, but for the address, which is answered with what changed.
            let answer = answer.trim();
            if !answer.is_empty() && !command.contains(" addr ") {
                return Err(io::Error::other(format!("haproxy refused '{command}': {answer}")));
            }
        }
        Ok(())
    }

    /// Weight and open sessions of every slot.
    pub(super) async fn slots(&self) -> io::Result<Vec<SlotState>> {
        Ok(parse(&self.tell("show stat -1 4 -1").await?))
    }
}

/// As the cloud's balancer passes a connection on to one pod, this one neither tries again nor another pod.
fn render(socket: &Path, address: IpAddr, ports: &[u16]) -> String {
    let mut text = format!(
        "global\n  maxconn 4000\n  nbthread 1\n  stats socket {} mode 600 level admin\n\
         defaults\n  mode tcp\n  balance roundrobin\n  retries 0\n  timeout connect 3s\n  timeout client 1h\n  timeout server 1h\n",
        socket.display()
    );
    for port in ports {
        let _never_fails = write!(
            text,
            "listen p{port}\n  bind {address}:{port}\n  server-template s 1-{SLOTS} 192.0.2.1:1 disabled\n"
        );
    }
    text
}

/// Reads the statistics, a table of comma-separated values whose first line names the columns.
fn parse(table: &str) -> Vec<SlotState> {
    let mut lines = table.lines().map(|line| line.trim_start_matches("# ").split(',').collect::<Vec<_>>());
    let Some(names) = lines.next() else { return Vec::new() };
    let column = |name| names.iter().position(|known| *known == name);
    let columns = (column("pxname"), column("svname"), column("weight"), column("scur"));
    let (Some(proxy), Some(server), Some(weight), Some(sessions)) = columns else { return Vec::new() };
    let slot = |line: Vec<&str>| {
        Some(SlotState {
            port: line.get(proxy)?.strip_prefix('p')?.parse().ok()?,
            slot: line.get(server)?.strip_prefix('s')?.parse::<usize>().ok()?.checked_sub(1)?,
            weight: line.get(weight)?.parse().ok()?,
            sessions: line.get(sessions)?.parse().ok()?,
        })
    };
    lines.filter_map(slot).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read_by_the_names_of_their_columns() {
        let table = "# pxname,svname,qcur,scur,weight\np80,s1,0,7,10\np80,s2,0,0,0\np80,BACKEND,0,7,10\n\n";
        let slots = parse(table);
        assert_eq!(
            slots,
            [
                SlotState { port: 80, slot: 0, weight: 10, sessions: 7 },
                SlotState { port: 80, slot: 1, weight: 0, sessions: 0 }
            ]
        );
        assert_eq!(parse(""), []);
    }
}
