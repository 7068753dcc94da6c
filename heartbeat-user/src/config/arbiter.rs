//! `[arbiter]`: who decides between two controllers that do not hear each other.

use super::{
    error::{Fault, Report},
    profiles::show,
    table::Table,
    values::{Use, command},
};
use crate::types::Nanos;
use hyper::Uri;
use serde::Serialize;
use siphasher::sip::SipHasher24;
use std::fmt;
use std::hash::Hasher;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The most endpoints.
const MAX_ENDPOINTS: usize = 16;
const ENDPOINTS: &str = "a list of 1 to 16 texts such as [\"https://192.0.2.7:2379\"]: http or https, a host, a port";
const WITHOUT_USER: &str = "an endpoint without a user and a password: these are `user` and `password_file`";
const FILE: &str = "the path of a file";
const DEVICE: &str =
    "the absolute path of a disk that both controllers have, such as \"/dev/disk/by-id/wwn-0x5000c500a1b2c3d4\"";
const ENGINES: &str = "one of etcd, disk and command";
const ENGINE: &str = "one of etcd = [\"https://192.0.2.7:2379\"], disk = \"/dev/disk/by-id/..\" and command = [\"/usr/lib/heartbeat/arbiter\"]";
const ONCE: &str = "each endpoint once: 2379 is the port where none is given";
const TTL: RangeInclusive<Nanos> = ms(2_000)..=ms(600_000);
const TIMEOUT: RangeInclusive<Nanos> = ms(50)..=ms(60_000);
const IO_TIMEOUT: RangeInclusive<Nanos> = ms(100)..=ms(60_000);

const fn ms(n: u64) -> Nanos {
    Nanos::from_millis(n)
}

/// `[arbiter]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArbiterConfig {
    /// Who it is.
    pub engine: ArbiterEngine,
    /// For so long it grants, from before it was asked. Default 30 s; a disk's is eight times its `io_timeout`.
    pub ttl: Nanos,
    /// It may take so long to answer: each endpoint of etcd, each read or write of a disk, a command. Default 1 s, a disk's 2 s
    /// (`io_timeout`), a command's 5 s.
    pub timeout: Nanos,
}

/// Who the arbiter is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ArbiterEngine {
    /// An etcd cluster.
    Etcd(EtcdConfig),
    /// A lease on a disk that both controllers have.
    Disk(PathBuf),
    /// A command, in words: ends with 0 where it grants, with 1 where it denies.
    Command(Vec<String>),
}

/// How etcd is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EtcdConfig {
    /// Members of one cluster, tried in this order.
    pub endpoints: Vec<Endpoint>,
    /// Whose name the agent goes by, and the file that holds that user's password.
    pub user: Option<(String, PathBuf)>,
    /// Certificates in PEM, of the authorities that signed the endpoints'.
    pub ca_file: Option<PathBuf>,
    /// The agent's own certificate and its key in PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Where a member of etcd listens for clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// By TLS.
    pub tls: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// TCP. Default 2379.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, host, port } = self;
        let scheme = if *tls { "https" } else { "http" };
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}

impl Endpoint {
    fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let authority = uri.authority()?;
        let plain = matches!(uri.path(), "" | "/") && uri.query().is_none() && !authority.as_str().contains('@');
        // A port that is there and is no number is not left out.
        let port = match authority.as_str().strip_prefix(authority.host()).filter(|_| plain)? {
            "" => 2379,
            port => port.strip_prefix(':')?.parse().ok().filter(|port| *port != 0)?,
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        (!host.is_empty()).then_some(Self { tls, host, port })
    }
}

impl ArbiterConfig {
    /// The longest that it may take from a question to its answer.
    #[must_use]
    pub fn within(&self) -> Nanos {
        match &self.engine {
            ArbiterEngine::Etcd(etcd) => self.timeout.times(etcd.endpoints.len() as u64),
            // A look; a claim and its confirmation, each written and read; and time in which the peer may withdraw its own claim.
            ArbiterEngine::Disk(_) => self.timeout.times(7),
            // SIGTERM's grace.
            ArbiterEngine::Command(_) => self.timeout.after(ms(1_000)),
        }
    }

    /// What it is, in a few words.
    #[must_use]
    pub fn described(&self) -> String {
        match &self.engine {
            ArbiterEngine::Etcd(etcd) => {
                let all: Vec<_> = etcd.endpoints.iter().map(Endpoint::to_string).collect();
                format!("etcd {}", all.join(", "))
            }
            ArbiterEngine::Disk(path) => format!("a lease on {}", path.display()),
            ArbiterEngine::Command(words) => words.join(" "),
        }
    }

    /// The files that it needs beside its command: the key of each, its path, and what it is for.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &Path, Use)> {
        let etcd = match &self.engine {
            ArbiterEngine::Etcd(etcd) => Some(etcd),
            _ => None,
        };
        etcd.into_iter().flat_map(|etcd| {
            let user = etcd.user.as_ref();
            let password = user.map(|(_, file)| ("arbiter.password_file", file.as_path(), Use::Secret));
            let authorities = etcd.ca_file.as_deref().map(|file| ("arbiter.ca_file", file, Use::Read));
            let identity = etcd.identity.as_ref().map(|(cert, key)| {
                [("arbiter.cert_file", &**cert, Use::Read), ("arbiter.key_file", &**key, Use::Private)]
            });
            password.into_iter().chain(authorities).chain(identity.into_iter().flatten())
        })
    }

    /// Takes relative paths from `folder`.
    pub(super) fn in_folder(mut self, folder: &Path) -> Self {
        if let ArbiterEngine::Etcd(EtcdConfig { user, ca_file, identity, .. }) = &mut self.engine {
            let user = user.iter_mut().map(|(_, file)| file);
            let identity = identity.iter_mut().flat_map(|(cert, key)| [cert, key]);
            for file in user.chain(ca_file).chain(identity) {
                *file = folder.join(&*file);
            }
        }
        self
    }

    /// Two controllers that ask different arbiters are both granted: this must be the same on both.
    pub(super) fn write_digest(&self, digest: &mut SipHasher24) {
        digest.write(b"arbiter");
        let described = self.described();
        digest.write(&(described.len() as u32).to_be_bytes());
        digest.write(described.as_bytes());
        digest.write(&self.ttl.0.to_be_bytes());
    }
}

/// `[arbiter]`
pub(super) fn arbiter(root: &Table<'_>, report: &mut Report<'_>) -> Option<ArbiterConfig> {
    const KNOWN: [&str; 11] = [
        "etcd",
        "user",
        "password_file",
        "ca_file",
        "cert_file",
        "key_file",
        "disk",
        "io_timeout",
        "command",
        "ttl",
        "timeout",
    ];
    let table = root.table(report, "arbiter", &KNOWN, "a table [arbiter]")?;
    let engines: Vec<_> = ["etcd", "disk", "command"].into_iter().filter(|engine| table.has(engine)).collect();
    let Some((&named, others)) = engines.split_first() else {
        table.require(report, "etcd, disk or command", ENGINE);
        return None;
    };
    for other in others {
        excluded(&table, report, other, named, ENGINES);
    }
    let keys: &[&str] = match named {
        "etcd" => &["etcd", "user", "password_file", "ca_file", "cert_file", "key_file", "ttl", "timeout"],
        "disk" => &["disk", "io_timeout"],
        _ => &["command", "ttl", "timeout"],
    };
    for key in KNOWN.iter().filter(|key| !keys.contains(key) && !engines.contains(key)) {
        excluded(&table, report, key, named, "to leave it out");
    }
    let [ttl, timeout, io] = [("ttl", TTL), ("timeout", TIMEOUT), ("io_timeout", IO_TIMEOUT)]
        .map(|(key, range)| table.duration(report, key, range).map(|span| span.value));
    let arbiter = match named {
        "etcd" => {
            let engine = ArbiterEngine::Etcd(etcd(&table, report)?);
            ArbiterConfig { engine, ttl: ttl.unwrap_or(ms(30_000)), timeout: timeout.unwrap_or(ms(1_000)) }
        }
        "disk" => {
            let accept = |path: &str| path.starts_with('/') && !path.contains('\0');
            let path = PathBuf::from(table.text(report, "disk", DEVICE, accept)?.value);
            let timeout = io.unwrap_or(ms(2_000));
            ArbiterConfig { engine: ArbiterEngine::Disk(path), ttl: timeout.times(8), timeout }
        }
        _ => {
            let engine = ArbiterEngine::Command(command(&table, report, "command")?);
            ArbiterConfig { engine, ttl: ttl.unwrap_or(ms(30_000)), timeout: timeout.unwrap_or(ms(5_000)) }
        }
    };
    // A disk's times follow from one another.
    if arbiter.within() >= arbiter.ttl {
        let start = ["ttl", "timeout", named].iter().find_map(|key| table.peek_span(key)).map_or(0, |span| span.start);
        let (ttl, within) = (show(arbiter.ttl), show(arbiter.within()));
        report.key(start, table.name("ttl"), Fault::TooSlow { ttl, within });
        return None;
    }
    Some(arbiter)
}

fn excluded(table: &Table<'_>, report: &mut Report<'_>, key: &str, by: &str, right: &'static str) {
    if let Some(span) = table.peek_span(key) {
        report.value(span, table.name(key), Fault::Excluded { by: table.name(by), right });
    }
}

fn etcd(table: &Table<'_>, report: &mut Report<'_>) -> Option<EtcdConfig> {
    let endpoints = endpoints(table, report);
    let path = |report: &mut Report<'_>, key: &str| {
        let file = table.text(report, key, FILE, |path| !path.is_empty() && !path.contains('\0'));
        file.map(|file| PathBuf::from(file.value))
    };
    let user = table.text(report, "user", "the name of a user of etcd", |name| !name.is_empty());
    let [password, ca_file, cert, key] =
        ["password_file", "ca_file", "cert_file", "key_file"].map(|key| path(report, key));
    for (one, other) in [("user", "password_file"), ("cert_file", "key_file")] {
        if table.has(one) != table.has(other) {
            let absent = if table.has(one) { other } else { one };
            table.require(report, absent, "user with password_file, cert_file with key_file, or neither of the two");
        }
    }
    let endpoints = endpoints?;
    if endpoints.iter().any(|endpoint| endpoint.tls) {
        table.require(report, "ca_file", "the path of a file with the certificates that signed the endpoints', in PEM");
    }
    let user = user.and_then(|user| Some((user.value.to_owned(), password?)));
    Some(EtcdConfig { endpoints, user, ca_file, identity: cert.zip(key) })
}

fn endpoints(table: &Table<'_>, report: &mut Report<'_>) -> Option<Vec<Endpoint>> {
    let list = table.filled_array(report, "etcd", ENDPOINTS);
    let mut endpoints = Vec::new();
    for (n, value) in list.iter().enumerate() {
        let name = table.name(&format!("etcd[{}]", n + 1));
        match value.get_ref().as_str().and_then(Endpoint::parse) {
            _ if n == MAX_ENDPOINTS => {
                report.value(value.span(), name, Fault::TooMany { what: "endpoints", max: MAX_ENDPOINTS });
                return None;
            }
            Some(endpoint) if endpoints.contains(&endpoint) => {
                report.value(value.span(), name, Fault::BadText { right: ONCE });
            }
            Some(endpoint) => endpoints.push(endpoint),
            // Before an @ there may be a password.
            None if value.get_ref().as_str().is_some_and(|text| text.contains('@')) => {
                report.key(value.span().start, name, Fault::BadText { right: WITHOUT_USER });
            }
            None => report.value(value.span(), name, Fault::BadText { right: ENDPOINTS }),
        }
    }
    (!endpoints.is_empty()).then_some(endpoints)
}
