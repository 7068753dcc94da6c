//! TLS towards etcd: authorities, and a certificate of our own.

use crate::config::{self, FileFault, HostProblem, Use, read_file};
use std::{path::Path, sync::Arc};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject},
        },
        version::TLS13,
    },
};

/// The largest file with certificates or a key, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// What every connection by TLS is made with; `None` where there is none.
///
/// # Errors
/// The files that are not usable, and why: also those that no endpoint needs.
pub(super) fn connector(etcd: &config::EtcdConfig) -> Result<Option<TlsConnector>, Vec<HostProblem>> {
    let authorities = etcd.ca_file.as_deref().map(authorities).transpose();
    let identity = etcd.identity.as_ref();
    let chain = identity.map(|(file, _)| certificates("arbiter.cert_file", file)).transpose();
    let key = identity.map(|(_, file)| private_key(file)).transpose();
    let (authorities, chain, key) = match (authorities, chain, key) {
        (Ok(authorities), Ok(chain), Ok(key)) => (authorities, chain, key),
        (authorities, chain, key) => {
            return Err([authorities.err(), chain.err(), key.err()].into_iter().flatten().collect());
        }
    };
    let authorities = authorities.unwrap_or_else(RootCertStore::empty);
    // etcd has spoken TLS 1.3 since 3.4.
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has suites of TLS 1.3")
        .with_root_certificates(authorities);
    let config = match chain.zip(key).zip(identity) {
        None => builder.with_no_client_auth(),
        Some(((chain, key), (cert_file, key_file))) => builder.with_client_auth_cert(chain, key).map_err(|error| {
            let what = format!("{error}; right would be the key of arbiter.cert_file = {cert_file:?}");
            vec![wrong("arbiter.key_file", key_file, Use::Private, what)]
        })?,
    };
    let connector = || TlsConnector::from(Arc::new(config));
    Ok(etcd.endpoints.iter().any(|endpoint| endpoint.tls).then(connector))
}

fn authorities(file: &Path) -> Result<RootCertStore, HostProblem> {
    let key = "arbiter.ca_file";
    let mut roots = RootCertStore::empty();
    for certificate in certificates(key, file)? {
        let right = "right would be certificates of authorities";
        roots.add(certificate).map_err(|error| wrong(key, file, Use::Read, format!("{error}; {right}")))?;
    }
    Ok(roots)
}

fn certificates(key: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, HostProblem> {
    let not_so = |error: &dyn std::fmt::Display| {
        wrong(key, file, Use::Read, format!("{error}; right would be a file with certificates in PEM"))
    };
    let bytes = contents(key, file, Use::Read)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let all = all.map_err(|error| not_so(&error))?;
    if all.is_empty() { Err(not_so(&"no certificate in it")) } else { Ok(all) }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, HostProblem> {
    let key = "arbiter.key_file";
    let not_so = |error| match error {
        pem::Error::NoItemsFound => "no private key in it; right would be one in PEM".to_owned(),
        error => format!("{error}; right would be a private key in PEM"),
    };
    let bytes = contents(key, file, Use::Private)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| wrong(key, file, Use::Private, not_so(error)))
}

fn contents(key: &str, file: &Path, of: Use) -> Result<Vec<u8>, HostProblem> {
    read_file(file, MAX_FILE, of).map_err(|fault| problem(key, file, of, fault))
}

fn wrong(key: &str, file: &Path, of: Use, what: String) -> HostProblem {
    problem(key, file, of, FileFault::Wrong(what))
}

fn problem(key: &str, file: &Path, of: Use, fault: FileFault) -> HostProblem {
    HostProblem::File { key: key.to_owned(), path: file.to_owned(), of, fault }
}
