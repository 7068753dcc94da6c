//! TLS towards etcd: authorities, and a certificate of our own.

use crate::config;
use std::{path::Path, sync::Arc};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        version::TLS13,
    },
};

/// What every connection by TLS is made with; `None` where there is none.
///
/// # Errors
/// The file that is not usable, and why.
pub(super) fn connector(etcd: &config::Etcd) -> Result<Option<TlsConnector>, String> {
    let Some(authorities) = etcd.ca_file.as_deref().filter(|_| etcd.endpoints.iter().any(|endpoint| endpoint.tls))
    else {
        return Ok(None);
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("arbiter.ca_file", authorities)? {
        let shown = authorities.display();
        roots.add(certificate).map_err(|error| format!("arbiter.ca_file = {shown}: {error}"))?;
    }
    // etcd has spoken TLS 1.3 since 3.4.
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let config = match &etcd.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates("arbiter.cert_file", certificate)?;
            let shown = key.display();
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| format!("arbiter.key_file = {shown}: {error}; right would be a private key in PEM"))?;
            let config = builder.with_client_auth_cert(chain, key);
            config.map_err(|error| format!("arbiter.cert_file and arbiter.key_file = {shown}: {error}"))?
        }
    };
    Ok(Some(TlsConnector::from(Arc::new(config))))
}

fn certificates(key: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &dyn std::fmt::Display| {
        format!("{key} = {}: {error}; right would be a file with certificates in PEM", file.display())
    };
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let all = all.map_err(|error| wrong(&error))?;
    if all.is_empty() { Err(wrong(&"no certificate in it")) } else { Ok(all) }
}
