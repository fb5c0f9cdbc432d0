//! Secrets of an object's namespace, which only who may write the object can name. The operator has no right to read
//! them unless it is given.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1;
use kube::{Api, Client};

/// Why there is nothing in a Secret. Never says what is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretProblem {
    /// The right is missing.
    #[error("the operator may not read the Secret {secret}")]
    Forbidden {
        /// Its name.
        secret: String,
    },
    /// There is none of this name.
    #[error("there is no Secret {secret} in this namespace")]
    Missing {
        /// Its name.
        secret: String,
    },
    /// Nobody has decided anything.
    #[error("the Secret {secret} was not read: {why}")]
    NotRead {
        /// Its name.
        secret: String,
        /// What happened.
        why: String,
    },
    /// It has other keys.
    #[error("the Secret {secret} has no key `{key}`")]
    NoKey {
        /// Its name.
        secret: String,
        /// The key.
        key: String,
    },
    /// The value is none that can be sent.
    #[error("the key `{key}` of the Secret {secret} is not one line of text")]
    NotText {
        /// Its name.
        secret: String,
        /// The key.
        key: String,
    },
}

impl SecretProblem {
    /// What to do about it.
    pub(crate) const fn fix(&self) -> &'static str {
        match self {
            Self::Forbidden { .. } => "give it the right in this namespace, as deploy/secrets/rbac.yaml says",
            Self::Missing { .. } => "make it, or name another",
            Self::NotRead { .. } => "it will be tried again",
            Self::NoKey { .. } => "correct the key or the Secret",
            Self::NotText { .. } => "correct the Secret",
        }
    }

    /// It may be otherwise without anybody doing anything.
    pub(crate) const fn passing(&self) -> bool {
        match self {
            Self::NotRead { .. } => true,
            Self::Forbidden { .. } | Self::Missing { .. } | Self::NoKey { .. } | Self::NotText { .. } => {
                false
            }
        }
    }
}

/// What is in a Secret. Has no `Debug`, so that it gets into no log.
pub(crate) struct Secret {
    name: String,
    data: BTreeMap<String, ByteString>,
}

impl Secret {
    /// Reads it.
    pub(crate) async fn read(api: Client, namespace: &str, name: &str) -> Result<Self, SecretProblem> {
        let api: Api<v1::Secret> = Api::namespaced(api, namespace);
        let secret = name.to_owned();
        match api.get(name).await {
            Ok(found) => Ok(Self { name: secret, data: found.data.unwrap_or_default() }),
            Err(kube::Error::Api(status)) if status.code == 403 => Err(SecretProblem::Forbidden { secret }),
            Err(kube::Error::Api(status)) if status.code == 404 => Err(SecretProblem::Missing { secret }),
            Err(other) => Err(SecretProblem::NotRead { secret, why: other.to_string() }),
        }
    }

    /// The value of a key as it is.
    pub(crate) fn bytes(&self, key: &str) -> Result<&[u8], SecretProblem> {
        let found = self.data.get(key).map(|ByteString(bytes)| bytes.as_slice());
        found.ok_or_else(|| SecretProblem::NoKey { secret: self.name.clone(), key: key.to_owned() })
    }

    /// The value of a key as text, without the line feed that files end with.
    pub(crate) fn text(&self, key: &str) -> Result<String, SecretProblem> {
        let text = str::from_utf8(self.bytes(key)?).unwrap_or_default().trim_end_matches(['\r', '\n']);
        if text.is_empty() || text.contains(char::is_control) {
            return Err(SecretProblem::NotText { secret: self.name.clone(), key: key.to_owned() });
        }
        Ok(text.to_owned())
    }

    /// The same of a key that may be missing.
    pub(crate) fn text_if_any(&self, key: &str) -> Result<Option<String>, SecretProblem> {
        self.data.contains_key(key).then(|| self.text(key)).transpose()
    }
}
