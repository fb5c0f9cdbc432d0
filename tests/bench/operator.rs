//! The operator as a process of its own, as in its pod: with a Lease to hold.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use lab::cluster::Cluster;
use lab::error::LabError;
use lab::process::Process;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

/// Nobody else listens in the sandbox.
const ADDRESS: &str = "127.0.0.1:18080";
/// Long past every promise.
const LIMIT: Duration = Duration::from_secs(30);

pub struct Operator {
    process: Process,
    started: Instant,
}

impl Operator {
    pub fn start(cluster: &Cluster, program: &Path) -> Result<Self, LabError> {
        let mut command = Command::from(cluster.command(&program.display().to_string()));
        command.args(["run", "--metrics-address", ADDRESS, "--leader-elect"]).args([
            "--lease-identity",
            "bench",
            "--lease-namespace",
            "default",
        ]);
        let started = Instant::now();
        Ok(Self { process: Process::spawn("operator", &mut command)?, started })
    }

    /// Waits until it is ready, and says how long after its start that was.
    pub async fn ready(&self) -> Duration {
        while !is_ready().unwrap_or(false) {
            assert!(self.started.elapsed() < LIMIT, "it was not ready within {LIMIT:?}");
            sleep(Duration::from_millis(1)).await;
        }
        self.started.elapsed()
    }

    /// Memory that it really has, in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.process.memory().expect("it runs").resident
    }

    pub async fn stop(self) {
        self.process.stop().await;
    }
}

fn is_ready() -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(ADDRESS)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200 "))
}
