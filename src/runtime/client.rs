//! The connection to the API server.

use std::path::Path;
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tower::timeout::TimeoutLayer;

/// How long an answer may take to begin. Watches are answered at once and stay open after that, so
/// this bounds them too without ending them.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// No API server can be talked to with what was found.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Neither a service account nor a usable kubeconfig.
    #[error(
        "no cluster to talk to: {0}. Outside a pod, point KUBECONFIG at a kubeconfig; \
         in a pod, let its service account token be mounted"
    )]
    NoCluster(#[from] kube::config::InferConfigError),
    /// A kubeconfig or context that was named and cannot be used.
    #[error("the kubeconfig cannot be used: {0}")]
    NoContext(#[from] kube::config::KubeconfigError),
    /// The configuration was read, but no client can be made of it.
    #[error("the cluster's configuration cannot be used: {0}")]
    Unusable(#[source] kube::Error),
}

/// A client from the pod's service account or from the kubeconfig.
///
/// A refusal (429) or an outage (503, 504) comes back as an answer to be looked at: kube's own
/// retries would hold a reconcile for minutes on a write that may be wrong by then.
///
/// # Errors
/// When there is no cluster to be found, or its configuration is not usable.
pub async fn connect() -> Result<kube::Client, ClientError> {
    use_ring();
    let mut config = kube::Config::infer().await?;
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config).map_err(ClientError::Unusable)?;
    Ok(builder.with_layer(&TimeoutLayer::new(REQUEST_TIMEOUT)).build())
}

/// A client for a person at a terminal: from this kubeconfig and context, or as kubectl finds them.
///
/// # Errors
/// When there is no cluster to be found, or its configuration is not usable.
pub async fn for_user(
    kubeconfig: Option<&Path>,
    context: Option<String>,
) -> Result<kube::Client, ClientError> {
    use_ring();
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    let config = match kubeconfig {
        Some(path) => kube::Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?,
        None if options.context.is_some() => kube::Config::from_kubeconfig(&options).await?,
        None => kube::Config::infer().await?,
    };
    let builder = ClientBuilder::try_from(config).map_err(ClientError::Unusable)?;
    Ok(builder.with_layer(&TimeoutLayer::new(REQUEST_TIMEOUT)).build())
}

/// Makes ring the process's one crypto provider; a second call changes nothing.
fn use_ring() {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a crypto provider was installed before");
    }
}
