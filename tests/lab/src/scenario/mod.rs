//! What the demo and the tests of an operator do alike: set the stage, deploy an application behind the load
//! balancer, put it under load, change its version in some way, and see what that cost.
//!
//! ```no_run
//! # use lab::{progress::Progress, sandbox, scenario::*};
//! # async fn example(inside: &sandbox::Inside) -> Result<(), ScenarioError> {
//! let stage = Stage::set(inside, &Progress::new(), Default::default()).await?;
//! let app = stage.deploy(App { replicas: 4, ..App::nginx("shop") }).await?;
//! let run = app.run_under(&Default::default(), async {
//!     app.set_image("lab/nginx:v2").await?;
//!     app.rolled_out().await
//! });
//! let run = run.await?;
//! println!("{} lost; first deletion: {:?}", run.report.lost(), run.deletions.first());
//! # Ok(())
//! # }
//! ```

mod app;
mod deployed;
mod leader;
mod operator;
mod run;
mod wait;

use std::{path::Path, sync::Arc};

use crate::{
    balancer::{
        Balancer, Behaviour,
        cloud_api::{Account, CloudApi},
    },
    cluster::Cluster,
    error::LabError,
    paths,
    progress::Progress,
    sandbox::Inside,
    watcher::Watcher,
};

pub use app::{App, AppService, Reached, ReadyBy, UpdateStrategy};
pub use deployed::Deployed;
pub use leader::{Blow, Leader, Operators};
pub(crate) use operator::NAMESPACE as OPERATOR_NAMESPACE;
pub use operator::{OperatorTime, Upgrade};
pub use run::{Run, TimeSpent};
pub use wait::{ScenarioError, until};

/// The cluster, its load balancer and the witness.
pub struct Stage {
    cluster: Cluster,
    balancer: Arc<Balancer>,
    watcher: Watcher,
}

impl Stage {
    /// Starts all three.
    ///
    /// # Errors
    /// When the cluster does not start.
    pub async fn set(inside: &Inside, progress: &Progress, behaviour: Behaviour) -> Result<Self, LabError> {
        let cluster = Cluster::start(inside, progress).await?;
        let directory = Path::new(paths::RUN).join("balancer");
        let balancer = Arc::new(Balancer::start(cluster.client(), directory, behaviour));
        let watcher = Watcher::start(cluster.client(), Arc::clone(&balancer));
        Ok(Self { cluster, balancer, watcher })
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The load balancer.
    #[must_use]
    pub fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    /// Starts a cloud's API that answers for the load balancer. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn cloud_api(&self, account: Account) -> Result<CloudApi, LabError> {
        CloudApi::start(Arc::clone(&self.balancer), account).await
    }

    /// The witness.
    #[must_use]
    pub fn watcher(&self) -> &Watcher {
        &self.watcher
    }

    /// Deploys an application into a namespace of its own, which is made if it is not there, and waits until all
    /// pods are in rotation behind every listener.
    ///
    /// # Errors
    /// When the API server refuses, or it takes longer than [`Deployed::LIMIT`].
    pub async fn deploy(&self, app: App) -> Result<Deployed<'_>, ScenarioError> {
        Deployed::create(self, app).await
    }

    /// Stops everything in order. Dropping is enough too.
    pub async fn strike(self) {
        let Self { cluster, balancer, watcher } = self;
        drop(watcher);
        drop(balancer);
        cluster.stop().await;
    }
}
