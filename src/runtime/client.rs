//! The connection to the API server.

use std::path::Path;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tower::timeout::TimeoutLayer;
use tower::{Layer, Service};

use super::metrics::Metrics;

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
/// retries would hold a reconcile for minutes on a write that may be wrong by then. Every request is
/// counted in `metrics`.
///
/// # Errors
/// When there is no cluster to be found, or its configuration is not usable.
pub async fn connect(metrics: &Metrics) -> Result<kube::Client, ClientError> {
    use_ring();
    let mut config = kube::Config::infer().await?;
    config.default_retry = false;
    let builder = ClientBuilder::try_from(config).map_err(ClientError::Unusable)?;
    let counted = CountRequests(metrics.clone());
    Ok(builder.with_layer(&TimeoutLayer::new(REQUEST_TIMEOUT)).with_layer(&counted).build())
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

/// Counts requests by method and answer, those without an answer too.
struct CountRequests(Metrics);

impl<S> Layer<S> for CountRequests {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, metrics: self.0.clone() }
    }
}

/// A service whose requests are counted.
#[derive(Clone)]
struct Counted<S> {
    inner: S,
    metrics: Metrics,
}

impl<S, Body, Answer> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<Answer>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (metrics, method) = (self.metrics.clone(), request.method().clone());
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await;
            let code = answer.as_ref().ok().map(|answer| answer.status().as_u16());
            metrics.api_request(method.as_str(), code);
            answer
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_request_is_counted_by_its_answer_or_as_one_without() {
        #[derive(Clone)]
        struct Server;
        impl Service<Request<u16>> for Server {
            type Response = Response<()>;
            type Error = &'static str;
            type Future = std::future::Ready<Result<Response<()>, &'static str>>;
            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
                Poll::Ready(Ok(()))
            }
            fn call(&mut self, request: Request<u16>) -> Self::Future {
                let code = *request.body();
                let answer = Response::builder().status(code).body(());
                std::future::ready(answer.map_err(|_| "the connection was closed"))
            }
        }
        let metrics = Metrics::new().unwrap();
        let mut service = CountRequests(metrics.clone()).layer(Server);
        for code in [200, 200, 409, 0] {
            let request = Request::builder().method("PATCH").body(code).unwrap();
            assert_eq!(service.call(request).await.is_err(), code == 0);
        }
        let text = metrics.encode().unwrap();
        for (code, count) in [("200", 2), ("409", 1), ("none", 1)] {
            let line = format!("api_requests_total{{code=\"{code}\",method=\"PATCH\"}} {count}");
            assert!(text.contains(&line), "{line}\n{text}");
        }
    }
}
