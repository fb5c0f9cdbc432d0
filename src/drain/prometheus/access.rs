//! What it takes to ask a Prometheus: whom to trust, and how to show who asks. Both may be in Secrets of the object's
//! namespace, which only who may write the object can name, and which go nowhere but to an address that is allowed.

use kube::Client;
use reqwest::RequestBuilder;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::drain::Refusal;
use crate::drain::spec::{AuthSpec, PrometheusSpec, SecretKey};
use crate::web;
use crate::web::secret::Secret;

/// Ready to ask.
pub(super) struct Access {
    pub(super) client: reqwest::Client,
    auth: Auth,
}

/// How the operator shows who it is.
enum Auth {
    None,
    Bearer(String),
    Basic { username: String, password: String },
}

impl Access {
    /// Reads what the spec names.
    ///
    /// # Errors
    /// A Secret cannot be read or lacks something, or nobody is trusted.
    pub(super) async fn of(spec: &PrometheusSpec, api: Client, namespace: &str) -> Result<Self, Refusal> {
        let secret = async |name: &str| Secret::read(api.clone(), namespace, name).await;
        let roots = match &spec.ca {
            Some(key) => named(secret(&key.secret).await?.bytes(&key.key)?, key)?,
            None if spec.address.starts_with("https:") => system()?,
            None => RootCertStore::empty(),
        };
        let auth = match &spec.auth {
            None => Auth::None,
            Some(AuthSpec { bearer: Some(SecretKey { secret: name, key }), basic: None }) => {
                Auth::Bearer(secret(name).await?.text(key)?)
            }
            Some(AuthSpec { bearer: None, basic: Some(basic) }) => {
                let secret = secret(&basic.secret).await?;
                Auth::Basic { username: secret.text("username")?, password: secret.text("password")? }
            }
            Some(AuthSpec { bearer: Some(_), basic: Some(_) } | AuthSpec { bearer: None, basic: None }) => {
                return Err(Refusal::lasting(
                    "the prometheus probe's auth does not name exactly one way",
                    "write `bearer` or `basic` in it",
                ));
            }
        };
        let client = web::client(roots).map_err(|what| Refusal::lasting(what, "use another probe"))?;
        Ok(Self { client, auth })
    }

    /// The request with who asks.
    pub(super) fn sign(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.auth {
            Auth::None => request,
            Auth::Bearer(token) => request.bearer_auth(token),
            Auth::Basic { username, password } => request.basic_auth(username, Some(password)),
        }
    }
}

/// The certificates of this key. All of them: one that cannot be read is not left out in silence.
fn named(pem: &[u8], SecretKey { secret, key }: &SecretKey) -> Result<RootCertStore, Refusal> {
    let refuse = || {
        Refusal::lasting(
            format!("the key `{key}` of the Secret {secret} has no certificates in PEM form"),
            "correct the key or the Secret",
        )
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(|_| refuse())?).map_err(|_| refuse())?;
    }
    if roots.is_empty() { Err(refuse()) } else { Ok(roots) }
}

/// The roots of the system that the operator runs on.
fn system() -> Result<RootCertStore, Refusal> {
    let roots = web::system_roots();
    if roots.is_empty() {
        return Err(Refusal::lasting(
            "there are no root certificates where the operator runs (its image has none)",
            "name the certificates in the probe's `ca`, or mount a bundle and say where it is in SSL_CERT_FILE",
        ));
    }
    Ok(roots)
}
