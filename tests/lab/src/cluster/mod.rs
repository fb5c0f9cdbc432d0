//! The cluster: one node with a control plane of real components, in the sandbox.

mod certificates;
mod files;
mod node;
mod parts;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::time::{Instant, sleep};

pub use parts::Part;

use crate::{
    error::LabError,
    images, paths,
    process::{Process, tail},
    progress::Progress,
    sandbox::Inside,
};

/// The name of the one node.
pub const NODE: &str = "lab";

/// The address of the node and of the bridge that the pods are on.
pub const NODE_ADDRESS: &str = "10.244.0.1";

/// A user with no rights but those that a test binds to this name.
pub const CONFINED: &str = "lab-confined";

/// From built binaries each of these takes 2 to 6 s on 2 idle cores.
const START_LIMIT: Duration = Duration::from_secs(90);

/// How often a condition that is waited for is looked at.
const POLL: Duration = Duration::from_millis(50);

/// A running cluster. Dropping it kills its components; its pods end with the sandbox.
pub struct Cluster {
    client: Client,
    processes: Mutex<Vec<Process>>,
}

/// A component that is stopped where it is. It goes on when this is dropped, so that no test leaves one behind.
#[must_use = "the component goes on when this is dropped"]
pub struct Paused<'a> {
    cluster: &'a Cluster,
    part: Part,
}

impl Paused<'_> {
    /// Lets it go on.
    pub fn resume(self) {}
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.cluster.of(self.part, Process::thaw);
    }
}

impl Cluster {
    /// Starts the components, in parallel as far as they allow, and waits until pods can be made.
    ///
    /// # Errors
    /// When a component ends or is not ready in time: with the last lines of its log.
    pub async fn start(inside: &Inside, progress: &Progress) -> Result<Self, LabError> {
        node::prepare().await?;
        files::write()?;
        let client = client(&kubeconfig()).await?;
        let cluster = Self { client, processes: Mutex::default() };
        cluster.spawn([Part::Etcd, Part::Containerd, Part::ApiServer])?;

        let images = async {
            let step = progress.step("containerd, images");
            cluster.wait(Part::Containerd, "containerd is ready", node::containerd_is_ready).await?;
            // One after the other: images share layers, and containerd makes the second one wait long for a lock.
            for image in images::needed(inside.need) {
                node::import(image).await?;
            }
            step.done();
            Ok::<_, LabError>(())
        };
        let rest = async {
            let step = progress.step("etcd, API server");
            cluster
                .wait(Part::ApiServer, "the API server is ready", || cluster.api_server_is_ready())
                .await?;
            step.done();
            let step = progress.step("node");
            cluster.wait(Part::Containerd, "containerd is ready", node::containerd_is_ready).await?;
            cluster.spawn([Part::ControllerManager, Part::Scheduler, Part::Kubelet, Part::KubeProxy])?;
            let made = "the default service account is made";
            let account = cluster.wait(Part::ControllerManager, made, || cluster.has_default_account());
            let node = cluster.wait(Part::Kubelet, "the node is Ready", || cluster.node_is_ready());
            tokio::try_join!(account, node)?;
            step.done();
            Ok(())
        };
        tokio::try_join!(images, rest)?;
        Ok(cluster)
    }

    /// A client with all rights.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The lab's own kubeconfig, with all rights. The caller's `KUBECONFIG` is never read.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        kubeconfig()
    }

    /// A kubeconfig of [`CONFINED`].
    #[must_use]
    pub fn confined_kubeconfig(&self) -> PathBuf {
        Path::new(paths::RUN).join(parts::User::Confined.kubeconfig_name())
    }

    /// JSON lines, level Metadata, one for each write that the API server has answered, and for each read of an
    /// operator that runs in the cluster or as [`CONFINED`].
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        paths::logs().join("audit.log")
    }

    /// Runs `kubectl` against this cluster and returns what it printed.
    ///
    /// # Errors
    /// When it ends with another status than 0: with what it wrote to standard error.
    pub fn kubectl(&self, args: &[&str]) -> Result<String, LabError> {
        self.run("kubectl", args)
    }

    /// Runs `helm` against this cluster and returns what it printed. The sandbox must have been entered with
    /// `Need::Helm`.
    ///
    /// # Errors
    /// When it ends with another status than 0: with what it wrote to standard error.
    pub fn helm(&self, args: &[&str]) -> Result<String, LabError> {
        self.run("helm", args)
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<String, LabError> {
        let command = || format!("{program} {}", args.join(" "));
        let output = self
            .command(program)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| LabError::Spawn { program: command(), source })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let output_text = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(LabError::Command { command: command(), status: output.status, output: output_text })
    }

    /// A program that finds this cluster and no other, and the lab's programs on its `PATH`.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("PATH", paths::search_path())
            .env("KUBECONFIG", self.kubeconfig())
            // kubectl and Helm would leave what they learn of this cluster in the home folder.
            .env("KUBECACHEDIR", Path::new(paths::RUN).join("kubectl"))
            .env("HELM_CACHE_HOME", Path::new(paths::RUN).join("helm"))
            .env("CONTAINERD_ADDRESS", node::CONTAINERD_SOCKET)
            .env("CONTAINERD_NAMESPACE", node::CONTAINERD_NAMESPACE);
        command
    }

    /// Stops a component where it is, until what is returned is dropped: its connections stay open and nobody is
    /// answered.
    pub fn pause(&self, part: Part) -> Paused<'_> {
        self.of(part, Process::freeze);
        Paused { cluster: self, part }
    }

    /// Kills a component by SIGKILL, starts it again, and waits until it is ready.
    ///
    /// # Errors
    /// When it is not ready in time: with the last lines of its log.
    pub async fn restart(&self, part: Part) -> Result<(), LabError> {
        let found = {
            let mut processes = self.processes();
            let place = processes.iter().position(|process| process.name() == part.program());
            place.map(|place| processes.remove(place))
        };
        if let Some(mut process) = found {
            process.kill().await;
        }
        self.spawn([part])?;
        let ready = async || match part {
            Part::ApiServer | Part::Etcd => self.api_server_is_ready().await,
            Part::Containerd => node::containerd_is_ready().await,
            Part::ControllerManager | Part::Scheduler | Part::Kubelet | Part::KubeProxy => {
                self.node_is_ready().await
            }
        };
        self.wait(part, "it is ready again", ready).await
    }

    fn of(&self, part: Part, what: impl Fn(&Process)) {
        self.processes().iter().filter(|process| process.name() == part.program()).for_each(what);
    }

    fn processes(&self) -> MutexGuard<'_, Vec<Process>> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client that passes every answer on as it is, refusals too.
    pub(crate) async fn plain_client(&self) -> Result<Client, LabError> {
        let mut config = config(&kubeconfig()).await?;
        config.default_retry = false;
        Ok(Client::try_from(config)?)
    }

    /// Stops the components by the ids recorded at their start, the last started first.
    pub async fn stop(self) {
        let processes = self.processes.into_inner().unwrap_or_else(PoisonError::into_inner);
        for process in processes.into_iter().rev() {
            process.stop().await;
        }
    }

    fn spawn<const N: usize>(&self, parts: [Part; N]) -> Result<(), LabError> {
        for part in parts {
            let process = Process::spawn(part.program(), &mut part.command())?;
            self.processes().push(process);
        }
        Ok(())
    }

    /// Waits until `condition` holds, and fails at once when a component has ended.
    async fn wait(&self, part: Part, what: &str, condition: impl AsyncFn() -> bool) -> Result<(), LabError> {
        let start = Instant::now();
        while !condition().await {
            self.processes().iter_mut().try_for_each(Process::check)?;
            if start.elapsed() > START_LIMIT {
                let log = paths::logs().join(format!("{}.log", part.program()));
                return Err(LabError::TooLate {
                    what: what.to_owned(),
                    limit: START_LIMIT,
                    tail: tail(&log),
                    log,
                });
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    async fn api_server_is_ready(&self) -> bool {
        let Ok(request) = http_get("/readyz") else { return false };
        self.client.request_text(request).await.is_ok()
    }

    /// Without it the API server refuses pods.
    async fn has_default_account(&self) -> bool {
        Api::<ServiceAccount>::namespaced(self.client(), "default").get("default").await.is_ok()
    }

    async fn node_is_ready(&self) -> bool {
        let Ok(node) = Api::<Node>::all(self.client()).get(NODE).await else { return false };
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    }
}

fn http_get(path: &str) -> Result<http::Request<Vec<u8>>, http::Error> {
    http::Request::get(path).body(Vec::new())
}

fn kubeconfig() -> PathBuf {
    Path::new(paths::RUN).join("admin.kubeconfig")
}

async fn client(kubeconfig: &Path) -> Result<Client, LabError> {
    Ok(Client::try_from(config(kubeconfig).await?)?)
}

async fn config(kubeconfig: &Path) -> Result<Config, LabError> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}
