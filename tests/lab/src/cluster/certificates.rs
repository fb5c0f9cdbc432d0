//! The API server's certificate with an authority of its own, and the key that signs the tokens of service accounts.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::NODE_ADDRESS;
use crate::error::{AtPath, LabError};

/// The first address of the Service range: that of the `kubernetes` Service.
const KUBERNETES_SERVICE: &str = "10.96.0.1";

/// Writes `ca.crt`, `server.crt`, `server.key`, `service-accounts.key` and `service-accounts.pub` into `folder`.
pub(super) fn write(folder: &Path) -> Result<(), LabError> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.distinguished_name.push(DnType::CommonName, "lab");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate()?;
    let authority_certificate = authority.self_signed(&authority_key)?;
    let issuer = Issuer::new(authority, authority_key);

    let names = ["127.0.0.1", NODE_ADDRESS, KUBERNETES_SERVICE, "localhost", "kubernetes.default.svc"];
    let mut server = CertificateParams::new(names.map(str::to_owned))?;
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    let server_key = KeyPair::generate()?;
    let server_certificate = server.signed_by(&server_key, &issuer)?;

    let service_accounts = KeyPair::generate()?;
    for (name, text) in [
        ("ca.crt", authority_certificate.pem()),
        ("server.crt", server_certificate.pem()),
        ("server.key", server_key.serialize_pem()),
        ("service-accounts.key", service_accounts.serialize_pem()),
        ("service-accounts.pub", service_accounts.public_key_pem()),
    ] {
        let path = folder.join(name);
        fs::write(&path, text).at(&path)?;
    }
    Ok(())
}
