//! What it takes to ask a Prometheus: whom to trust, and how to show who asks. Both may be in Secrets of the object's
//! namespace, which only who may write the object can name, and which go nowhere but to an address that is allowed.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use reqwest::RequestBuilder;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::drain::spec::{AuthSpec, PrometheusSpec, SecretKey};
use crate::drain::{Refusal, web};

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
        let secrets = Secrets(Api::namespaced(api, namespace));
        let roots = match &spec.ca {
            Some(key) => named(&secrets.bytes(key).await?, key)?,
            None if spec.address.starts_with("https:") => system()?,
            None => RootCertStore::empty(),
        };
        let auth = match &spec.auth {
            None => Auth::None,
            Some(AuthSpec { bearer: Some(key), basic: None }) => Auth::Bearer(secrets.text(key).await?),
            Some(AuthSpec { bearer: None, basic: Some(basic) }) => {
                let key = |key: &str| SecretKey { secret: basic.secret.clone(), key: key.to_owned() };
                let (username, password) = (key("username"), key("password"));
                Auth::Basic {
                    username: secrets.text(&username).await?,
                    password: secrets.text(&password).await?,
                }
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

/// The Secrets of one namespace.
struct Secrets(Api<Secret>);

impl Secrets {
    async fn bytes(&self, SecretKey { secret, key }: &SecretKey) -> Result<Vec<u8>, Refusal> {
        let found = self.0.get(secret).await.map_err(|problem| refusal(secret, &problem))?;
        let ByteString(bytes) = found.data.and_then(|mut data| data.remove(key)).ok_or_else(|| {
            Refusal::lasting(
                format!("the Secret {secret} has no key `{key}`"),
                "correct the key or the Secret",
            )
        })?;
        Ok(bytes)
    }

    /// As text, without the line feed that files end with.
    async fn text(&self, key: &SecretKey) -> Result<String, Refusal> {
        let text = String::from_utf8(self.bytes(key).await?).ok();
        let text = text.map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
        text.filter(|text| !text.is_empty() && !text.contains(char::is_control)).ok_or_else(|| {
            Refusal::lasting(
                format!("the key `{}` of the Secret {} is not one line of text", key.key, key.secret),
                "correct the Secret",
            )
        })
    }
}

fn refusal(secret: &str, problem: &kube::Error) -> Refusal {
    match problem {
        kube::Error::Api(status) if status.code == 403 => Refusal::lasting(
            format!("the operator may not read the Secret {secret}"),
            "give it the right in this namespace, as deploy/prometheus-secrets/rbac.yaml says",
        ),
        kube::Error::Api(status) if status.code == 404 => Refusal::lasting(
            format!("there is no Secret {secret} in this namespace"),
            "make it, or name another",
        ),
        other => Refusal {
            what: format!("the Secret {secret} was not read: {other}"),
            fix: "it will be tried again".to_owned(),
            passing: true,
        },
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
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(Refusal::lasting(
            "there are no root certificates where the operator runs (its image has none)",
            "name the certificates in the probe's `ca`, or mount a bundle and say where it is in SSL_CERT_FILE",
        ));
    }
    Ok(roots)
}
