//! etcd, by its v3 JSON gateway: a key for each group, under a lease.
//!
//! Every grant, the first and each further one, is a new lease and a transaction that puts the groups' keys under it, on condition
//! that they are what they were a moment ago (`mod_revision`, 0 for a key that is not there; the gateway's `Compare`). Both go
//! through etcd's log, and a key's time begins anew when the log has them:
//! - No leader that has been replaced and does not know it can prolong anything, as it can by `/v3/lease/keepalive` (etcd before
//!   3.5.8 answers that without asking its followers).
//! - A question that arrives late, or twice, changes nothing: its condition does not hold any more.
//!
//! The lease before is left to run out: nothing is under it.

use super::{
    ArbiterAnswer, Pair,
    http::{self, Failure, shown},
    listed, tls, until,
};
use crate::{
    config::{self, Endpoint, show},
    core::{Arbitrate, Arbitrated},
    system::clock,
    types::Nanos,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::StatusCode;
use serde_json::{Value, json};
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How often keys are read again that changed before they could be set.
const ATTEMPTS: u32 = 3;

/// etcd, as an arbiter.
pub(super) struct EtcdArbiter {
    config: config::EtcdConfig,
    /// Or why no endpoint can be asked in this life.
    tls: Result<Option<TlsConnector>, String>,
    patience: Nanos,
    /// The endpoint that answered last.
    first: AtomicUsize,
    seen: Mutex<Seen>,
}

/// What it said about itself.
#[derive(Debug, Default)]
struct Seen {
    /// Its cluster's id.
    cluster: Option<u64>,
    /// Its store's greatest revision: that never falls.
    revision: u64,
    /// It lost what it knew; until then a grant may be in force that it does not know of.
    distrusted: Nanos,
    /// An endpoint is a member of another cluster, until a look at all of them finds none: each would grant by itself.
    split: Option<String>,
}

/// A group's key.
struct Key {
    group: u32,
    /// Its revision, 0 where it is not there.
    revision: u64,
    holder: Holder,
}

enum Holder {
    Nobody,
    Us,
    Other(String),
}

impl EtcdArbiter {
    pub(super) fn new(config: &config::EtcdConfig, patience: Nanos) -> Self {
        Self {
            config: config.clone(),
            tls: tls::connector(config).map_err(|problems| listed(&problems)),
            patience,
            first: AtomicUsize::new(0),
            seen: Mutex::default(),
        }
    }

    pub(super) async fn ask(&self, pair: &Pair, ask: Arbitrate) -> ArbiterAnswer {
        if let Some(never) = self.tls.as_ref().err().or(self.seen().split.as_ref()) {
            return ArbiterAnswer::unreachable(never);
        }
        let count = self.config.endpoints.len();
        let first = self.first.load(Relaxed);
        let mut failures = Vec::new();
        for at in (0..count).map(|i| (first + i) % count) {
            match self.at(at, async |session| session.settle(pair, ask).await).await {
                Ok(answered) => {
                    self.first.store(at, Relaxed);
                    return answered;
                }
                Err(failure) => failures.push(failure),
            }
        }
        ArbiterAnswer::unreachable(failures.join("; "))
    }

    /// Asks every endpoint for the groups' keys.
    pub(super) async fn look(&self, pair: &Pair) -> Result<String, String> {
        let _usable = self.tls.as_ref().map_err(String::clone)?;
        let count = self.config.endpoints.len();
        let (mut failures, mut found) = (Vec::new(), None);
        for at in 0..count {
            match self.at(at, async |session| session.state(pair).await).await {
                Ok(state) => found = Some(state),
                Err(failure) => failures.push(failure),
            }
        }
        match found.filter(|_| failures.is_empty()) {
            Some((cluster, held)) => {
                self.seen().split = None;
                Ok(format!("{count} of {count} endpoints answer, cluster {cluster:x}; {held}"))
            }
            None => Err(format!("{} of {count} endpoints answer; {}", count - failures.len(), failures.join("; "))),
        }
    }

    /// Does something at the endpoint of that place, within the time that each has.
    async fn at<T>(
        &self,
        at: usize,
        job: impl AsyncFnOnce(&mut Session<'_>) -> Result<T, Failure>,
    ) -> Result<T, String> {
        let endpoint = &self.config.endpoints[at];
        let tls = self.tls.as_ref().map_err(String::clone)?.as_ref();
        let mut session = Session { etcd: self, endpoint, tls, token: None };
        let done = async {
            session.log_in().await?;
            job(&mut session).await
        };
        match timeout(Duration::from_nanos(self.patience.0), done).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(failure)) => Err(format!("{endpoint}: {}", failure.what)),
            Err(_) => Err(format!("{endpoint}: no answer within {}", show(self.patience))),
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Questions to one endpoint.
struct Session<'e> {
    etcd: &'e EtcdArbiter,
    endpoint: &'e Endpoint,
    tls: Option<&'e TlsConnector>,
    token: Option<String>,
}

impl Session<'_> {
    async fn log_in(&mut self) -> Result<(), Failure> {
        let Some((name, file)) = &self.etcd.config.user else { return Ok(()) };
        let password = config::read_secret(file)
            .map_err(|why| Failure::of(format!("arbiter.password_file = {}: {why}", file.display())))?;
        let answer = self.post("/v3/auth/authenticate", &json!({ "name": name, "password": password })).await;
        let answer = answer.map_err(|failure| match failure.status {
            Some(StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED) => {
                Failure::of(format!("arbiter.user = {name}: {}", failure.what))
            }
            _ => failure,
        })?;
        let token = answer["token"].as_str().ok_or_else(|| strange("no token", &answer))?;
        self.token = Some(token.to_owned());
        Ok(())
    }

    async fn settle(&mut self, pair: &Pair, ask: Arbitrate) -> Result<ArbiterAnswer, Failure> {
        for _ in 0..ATTEMPTS {
            let (_, keys) = self.keys(pair, ask.groups()).await?;
            let answered = match ask {
                Arbitrate::Acquire(_) | Arbitrate::Renew(_) => self.grant(pair, &keys).await?,
                Arbitrate::Release(_) => self.release(pair, &keys).await?,
            };
            if let Some(answered) = answered {
                return Ok(answered);
            }
        }
        Err(Failure::of(format!("its keys changed {ATTEMPTS} times before they could be set")))
    }

    /// `None` where a key changed meanwhile.
    async fn grant(&mut self, pair: &Pair, keys: &[Key]) -> Result<Option<ArbiterAnswer>, Failure> {
        let others = keys.iter().filter_map(|key| match &key.holder {
            Holder::Other(holder) => Some(format!("{} is {holder}'s", pair.groups[key.group as usize])),
            Holder::Nobody | Holder::Us => None,
        });
        let others = others.collect::<Vec<_>>().join(", ");
        let wanted: Vec<_> = keys.iter().filter(|key| !matches!(key.holder, Holder::Other(_))).collect();
        if wanted.is_empty() {
            let why = format!("{}: {others}", self.endpoint);
            return Ok(Some(ArbiterAnswer { outcome: Arbitrated::Denied, why }));
        }
        let asked = clock::monotonic();
        let lease = getrandom::u64().map_err(|error| Failure::of(format!("no random number: {error}")))? >> 1 | 1;
        let ttl = self.lease(lease, pair.ttl).await?;
        let value = STANDARD.encode(us(pair));
        let put = |key: &&Key| {
            let name = STANDARD.encode(name(pair, key.group));
            json!({ "request_put": { "key": name, "value": value, "lease": lease.to_string() } })
        };
        if !self.change(pair, &wanted, put).await? {
            return Ok(None);
        }
        let groups = wanted.iter().fold(0, |bits, key| bits | 1 << key.group);
        let refused = if others.is_empty() { others } else { format!("; {others}") };
        let why = format!("{}: granted {} for {}{refused}", self.endpoint, pair.names(groups), show(ttl));
        Ok(Some(ArbiterAnswer { outcome: Arbitrated::Granted { groups, until: until(asked, ttl) }, why }))
    }

    /// `None` where a key changed meanwhile.
    async fn release(&mut self, pair: &Pair, keys: &[Key]) -> Result<Option<ArbiterAnswer>, Failure> {
        let ours: Vec<_> = keys.iter().filter(|key| matches!(key.holder, Holder::Us)).collect();
        let delete = |key: &&Key| json!({ "request_delete_range": { "key": STANDARD.encode(name(pair, key.group)) } });
        if !ours.is_empty() && !self.change(pair, &ours, delete).await? {
            return Ok(None);
        }
        let names = pair.names(keys.iter().fold(0, |bits, key| bits | 1 << key.group));
        Ok(Some(ArbiterAnswer::released(format!("{}: {names} given back", self.endpoint))))
    }

    /// Makes a lease of this id, and says how long it lasts: no longer than asked for, whatever is answered.
    async fn lease(&self, id: u64, ttl: Nanos) -> Result<Nanos, Failure> {
        let seconds = ttl.0.div_ceil(1_000_000_000);
        let ask = json!({ "ID": id.to_string(), "TTL": seconds.to_string() });
        let answer = self.post("/v3/lease/grant", &ask).await?;
        self.cluster(&answer)?;
        let given = number(&answer["TTL"]).filter(|given| *given > 0 && number(&answer["ID"]) == Some(id));
        let given = given.ok_or_else(|| strange("not the lease that was asked for", &answer))?;
        Ok(ttl.min(Nanos::from_millis(given.saturating_mul(1_000))))
    }

    /// Does something to each of the keys, if none has changed since it was read.
    async fn change(&self, pair: &Pair, keys: &[&Key], what: impl Fn(&&Key) -> Value) -> Result<bool, Failure> {
        let unchanged = |key: &&Key| {
            let name = STANDARD.encode(name(pair, key.group));
            json!({ "key": name, "target": "MOD", "result": "EQUAL", "mod_revision": key.revision.to_string() })
        };
        let compare: Vec<_> = keys.iter().map(unchanged).collect();
        let success: Vec<_> = keys.iter().map(what).collect();
        let answer = self.post("/v3/kv/txn", &json!({ "compare": compare, "success": success })).await?;
        self.revision(pair, &answer)?;
        // What is false is left out.
        match (answer["succeeded"].as_bool(), answer["responses"].as_array().map_or(0, Vec::len)) {
            (Some(true), count) if count == keys.len() => Ok(true),
            (None | Some(false), 0) => Ok(false),
            _ => Err(strange("no transaction of ours", &answer)),
        }
    }

    /// What the keys of these groups are, as etcd's log has them; and the cluster's id.
    async fn keys(&self, pair: &Pair, groups: u64) -> Result<(u64, Vec<Key>), Failure> {
        let groups: Vec<u32> = (0..pair.groups.len() as u32).filter(|group| groups & (1 << group) != 0).collect();
        let read = |group: &u32| json!({ "request_range": { "key": STANDARD.encode(name(pair, *group)) } });
        let ask = json!({ "success": groups.iter().map(read).collect::<Vec<_>>() });
        let answer = self.post("/v3/kv/txn", &ask).await?;
        let cluster = self.revision(pair, &answer)?;
        let responses = answer["responses"].as_array().filter(|all| all.len() == groups.len());
        let responses = responses.ok_or_else(|| strange("not as many keys as were asked for", &answer))?;
        let keys = groups.iter().zip(responses).map(|(group, response)| key(pair, *group, &response["response_range"]));
        Ok((cluster, keys.collect::<Result<_, _>>()?))
    }

    /// The cluster's id, and who has which group.
    async fn state(&self, pair: &Pair) -> Result<(u64, String), Failure> {
        let all = (0..pair.groups.len()).fold(0, |bits, group| bits | 1 << group);
        let (cluster, keys) = self.keys(pair, all).await?;
        let held = keys.iter().filter_map(|key| match &key.holder {
            Holder::Nobody => None,
            Holder::Us => Some(format!("{} is granted to this controller", pair.groups[key.group as usize])),
            Holder::Other(holder) => Some(format!("{} is granted to {holder}", pair.groups[key.group as usize])),
        });
        let held = held.collect::<Vec<_>>().join(", ");
        Ok((cluster, if held.is_empty() { "nothing is granted".to_owned() } else { held }))
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        http::post(self.endpoint, self.tls, path, body, self.token.as_deref()).await
    }

    /// Checks that an answer comes from the cluster that answered before; its id.
    fn cluster(&self, answer: &Value) -> Result<u64, Failure> {
        let cluster =
            number(&answer["header"]["cluster_id"]).ok_or_else(|| strange("not an answer of etcd", answer))?;
        let mut seen = self.etcd.seen();
        let known = *seen.cluster.get_or_insert(cluster);
        if known == cluster {
            return Ok(cluster);
        }
        let what = format!(
            "a member of cluster {cluster:x}, others are, or were, of {known:x}, and each would grant: right would be members of \
             one cluster, or, where that was made anew, a reload of both agents"
        );
        seen.split = Some(format!("{}: {what}", self.endpoint));
        Err(Failure::of(what))
    }

    /// Checks besides that it has forgotten nothing.
    fn revision(&self, pair: &Pair, answer: &Value) -> Result<u64, Failure> {
        let cluster = self.cluster(answer)?;
        let revision = number(&answer["header"]["revision"]).ok_or_else(|| strange("not an answer of etcd", answer))?;
        let now = clock::monotonic();
        let mut seen = self.etcd.seen();
        if revision < seen.revision {
            // Longer than any grant that it has forgotten.
            seen.distrusted = now.after(pair.ttl).after(Nanos(pair.ttl.0 / 50));
        }
        seen.revision = revision;
        if now < seen.distrusted {
            let left = show(Nanos(seen.distrusted.since(now).0.next_multiple_of(1_000_000)));
            return Err(Failure::of(format!(
                "it has lost what it knew (its revision fell to {revision}): it is asked again in {left}, when no grant of \
                 before is in force any more"
            )));
        }
        Ok(cluster)
    }
}

fn key(pair: &Pair, group: u32, range: &Value) -> Result<Key, Failure> {
    let wrong = || strange("no key of ours", range);
    let Some(kv) = range["kvs"].as_array().and_then(|kvs| kvs.first()) else {
        // An answer without the key's header would be none about it.
        let absent = range["header"].is_object() && number(&range["count"]).unwrap_or(0) == 0;
        return if absent { Ok(Key { group, revision: 0, holder: Holder::Nobody }) } else { Err(wrong()) };
    };
    let decoded = |field: &str| STANDARD.decode(kv[field].as_str().unwrap_or_default()).ok();
    let revision = number(&kv["mod_revision"]).filter(|revision| *revision > 0).ok_or_else(wrong)?;
    if decoded("key").ok_or_else(wrong)? != name(pair, group).as_bytes() {
        return Err(wrong());
    }
    let holder = String::from_utf8_lossy(&decoded("value").ok_or_else(wrong)?).into_owned();
    let holder = if holder == us(pair) { Holder::Us } else { Holder::Other(shown(&holder)) };
    Ok(Key { group, revision, holder })
}

/// The key of a group.
fn name(pair: &Pair, group: u32) -> String {
    format!("heartbeat/{}/{}", pair.id, pair.groups[group as usize])
}

/// What a key says that is ours.
fn us(pair: &Pair) -> String {
    format!("{} {}", pair.node, pair.hostname).trim_end().to_owned()
}

/// The gateway writes 64-bit numbers as texts.
fn number(value: &Value) -> Option<u64> {
    value.as_str().map_or_else(|| value.as_u64(), |text| text.parse().ok())
}

fn strange(what: &str, answer: &Value) -> Failure {
    Failure::of(format!("{what}: {}", shown(&answer.to_string())))
}
