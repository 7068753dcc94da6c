//! etcd as it should not be, and seeded runs of two controllers behind networks that lose, delay and double what they say.

use super::{
    Arbiter, ArbiterAnswer, Pair, check, ensure_usable,
    etcd::EtcdArbiter,
    gateway::{Course, Store, parrot, response, serve},
};
use crate::{
    config::{self, Config, EXAMPLE, Endpoint},
    core::{Arbitrate, Arbitrated},
    system::clock,
    types::{Nanos, Node},
};
use serde_json::json;
use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{task::JoinSet, time::sleep};

const KEY: &str = "heartbeat/7/g1";
const PATIENCE: Nanos = Nanos::from_millis(300);

fn pair(node: Node, ttl: Nanos) -> Pair {
    let hostname = format!("filer-{node}");
    Pair { id: 7, node, hostname, groups: vec!["g1".into(), "g2".into()], ttl }
}

fn a() -> Pair {
    pair(Node::A, Nanos::from_millis(30_000))
}

fn etcd(endpoints: Vec<Endpoint>) -> EtcdArbiter {
    EtcdArbiter::new(&config::EtcdConfig { endpoints, user: None, ca_file: None, identity: None }, PATIENCE)
}

fn store() -> Arc<Mutex<Store>> {
    Arc::new(Mutex::new(Store::new(5, 10)))
}

fn at_once() -> Course {
    Course { arrives: vec![Duration::ZERO], ..Course::default() }
}

fn done<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// What that etcd is asked for g1 by a.
async fn asked(etcd: &EtcdArbiter) -> ArbiterAnswer {
    etcd.ask(&a(), Arbitrate::Acquire(1)).await
}

fn unreachable(answered: &ArbiterAnswer, words: &str) {
    assert!(answered.outcome == Arbitrated::Unreachable && answered.why.contains(words), "{words:?}: {answered:?}");
}

#[test]
fn one_is_granted_what_the_other_is_denied_until_it_is_given_back() {
    done(async {
        let store = store();
        let etcd = etcd(vec![serve(Arc::clone(&store), Duration::from_secs(1), at_once).await]);
        let b = pair(Node::B, a().ttl);
        let before = clock::monotonic();
        let granted = asked(&etcd).await;
        let Arbitrated::Granted { groups: 1, until } = granted.outcome else { panic!("{granted:?}") };
        let longest = clock::monotonic().after(Nanos::from_millis(29_700));
        assert!(until >= before.after(Nanos::from_millis(29_700)) && until <= longest, "{until}");
        assert_eq!(store.lock().unwrap().value(KEY).as_deref(), Some("a filer-a"));
        let denied = etcd.ask(&b, Arbitrate::Acquire(1)).await;
        assert!(denied.outcome == Arbitrated::Denied && denied.why.ends_with("g1 is a filer-a's"), "{denied:?}");
        // Some of them, if not all.
        let some = etcd.ask(&b, Arbitrate::Acquire(3)).await;
        assert!(matches!(some.outcome, Arbitrated::Granted { groups: 2, .. }), "{some:?}");
        assert!(some.why.contains("granted g2 for 30s; g1 is a filer-a's"), "{some:?}");
        etcd.ask(&b, Arbitrate::Release(3)).await;
        assert_eq!(store.lock().unwrap().value(KEY).as_deref(), Some("a filer-a"));
        let renewed = etcd.ask(&a(), Arbitrate::Renew(1)).await;
        assert!(matches!(renewed.outcome, Arbitrated::Granted { groups: 1, until: later } if later > until));
        etcd.ask(&a(), Arbitrate::Release(1)).await;
        assert_eq!(store.lock().unwrap().value(KEY), None);
        assert!(matches!(etcd.ask(&b, Arbitrate::Acquire(1)).await.outcome, Arbitrated::Granted { groups: 1, .. }));
    });
}

#[test]
fn a_grant_counts_from_before_it_was_asked_for() {
    done(async {
        let late = || Course { answer: Duration::from_millis(80), ..at_once() };
        let etcd = etcd(vec![serve(store(), Duration::from_secs(1), late).await]);
        let granted = asked(&etcd).await;
        // The keys are read first, then the lease and the transaction take 80 ms each.
        let latest = clock::monotonic().after(Nanos::from_millis(29_700 - 160));
        assert!(matches!(granted.outcome, Arbitrated::Granted { until, .. } if until <= latest), "{granted:?}");
    });
}

#[test]
fn the_next_endpoint_is_asked_where_one_does_not_answer_in_time_and_stays_the_first() {
    done(async {
        let silent = || Course { lost: true, ..at_once() };
        let (one, other) = (store(), store());
        let endpoints = vec![
            serve(Arc::clone(&one), Duration::from_secs(1), silent).await,
            serve(Arc::clone(&other), Duration::from_secs(1), at_once).await,
        ];
        let etcd = etcd(endpoints);
        let before = clock::monotonic();
        assert!(matches!(asked(&etcd).await.outcome, Arbitrated::Granted { .. }));
        assert!(clock::monotonic().since(before) >= PATIENCE);
        let silent_asked = one.lock().unwrap().questions;
        assert!(matches!(asked(&etcd).await.outcome, Arbitrated::Granted { .. }));
        assert_eq!(one.lock().unwrap().questions, silent_asked);
        let looked = etcd.look(&a()).await.unwrap_err();
        assert!(looked.starts_with("1 of 2 endpoints answer; http://127.0.0.1:"), "{looked}");
        assert!(looked.ends_with("no answer within 300ms"), "{looked}");
    });
}

#[test]
fn garbage_redirects_errors_and_endless_answers_grant_nothing() {
    let endless = format!("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{}", "x".repeat(300_000));
    let long_head = format!("HTTP/1.1 200 OK\r\n{}\r\n\r\n{{}}", "X: y\r\n".repeat(20_000));
    let redirect = "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\x01\r\nContent-Length: 0\r\n\r\n";
    let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}", "2000\r\n".repeat(60_000));
    let cases = [
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "not HTTP, or it broke off"),
        (vec![0xff; 100_000], "not HTTP, or it broke off"),
        (long_head.into_bytes(), "not HTTP, or it broke off"),
        (redirect.replace('\x01', "x").into_bytes(), "sends us to http://127.0.0.1:1/x (307"),
        (endless.into_bytes(), "no whole answer of at most 256 KiB"),
        (chunked.into_bytes(), "no whole answer of at most 256 KiB"),
        (response("200 OK", "[\"\u{7}x"), "not JSON"),
        (response("200 OK", "{}"), "not an answer of etcd: {}"),
        (response("200 OK", "null"), "not an answer of etcd"),
        (response("200 OK", "{\"header\":{\"cluster_id\":\"x\"}}"), "not an answer of etcd"),
        (
            response("503 Service Unavailable", "{\"error\":\"e\",\"message\":\"no leader\"}"),
            "503 Service Unavailable: no leader",
        ),
        (response("404 Not Found", "404 page not found"), "404 Not Found: 404 page not found"),
        (b"HTTP/1.1 200 OK\r\n".to_vec(), "no answer within 300ms"),
        (Vec::new(), "no answer within 300ms"),
    ];
    done(async {
        for (bytes, words) in cases {
            let answered = asked(&etcd(vec![parrot(bytes).await])).await;
            unreachable(&answered, words);
            assert!(!answered.why.contains('\u{7}') && answered.why.len() < 400, "{answered:?}");
        }
        let nobody = Endpoint { tls: false, host: "127.0.0.1".into(), port: 1 };
        unreachable(&asked(&etcd(vec![nobody])).await, "http://127.0.0.1:1: no connection: Connection refused");
    });
}

#[test]
fn an_answer_that_is_another_questions_grants_nothing() {
    let header = json!({ "cluster_id": "5", "revision": "10" });
    let cases = [
        ("/v3/lease/grant", json!({ "header": header, "ID": "3", "TTL": "30" }), "not the lease that was asked for"),
        ("/v3/lease/grant", json!({ "header": header, "TTL": "30" }), "not the lease that was asked for"),
        ("/v3/kv/txn", json!({ "header": header, "succeeded": true, "responses": [] }), "not as many keys"),
        ("/v3/kv/txn", json!({ "header": header, "succeeded": true, "responses": [{}] }), "no key of ours"),
        (
            "/v3/kv/txn",
            json!({ "header": header, "responses": [{ "response_range": { "header": {}, "count": "1" } }] }),
            "no key of ours",
        ),
        (
            "/v3/kv/txn",
            json!({ "header": header, "responses": [{ "response_range": { "kvs": [{ "key": "eA==", "value": "eA==", "mod_revision": "3" }] } }] }),
            "no key of ours",
        ),
    ];
    done(async {
        for (path, instead, words) in cases {
            let store = store();
            store.lock().unwrap().instead.insert(path, instead);
            unreachable(&asked(&etcd(vec![serve(store, Duration::from_secs(1), at_once).await])).await, words);
        }
    });
}

#[test]
fn a_lease_counts_for_no_longer_than_was_asked_for_or_given() {
    done(async {
        let etcd = etcd(vec![serve(store(), Duration::from_secs(1), at_once).await]);
        let short = pair(Node::A, Nanos::from_millis(2_500));
        let now = clock::monotonic();
        let granted = etcd.ask(&short, Arbitrate::Acquire(1)).await;
        // etcd was asked for 3 s.
        let latest = now.after(Nanos::from_millis(2_475 + 200));
        assert!(matches!(granted.outcome, Arbitrated::Granted { until, .. } if until < latest), "{granted:?}");
    });
}

#[test]
fn members_of_two_clusters_are_told_and_grant_nothing() {
    done(async {
        let other = Arc::new(Mutex::new(Store::new(0xabc, 3)));
        let endpoints = vec![
            serve(store(), Duration::from_secs(1), at_once).await,
            serve(other, Duration::from_secs(1), at_once).await,
        ];
        let etcd = etcd(endpoints);
        let told = etcd.look(&a()).await.unwrap_err();
        assert!(told.contains("a member of cluster abc, others are, or were, of 5"), "{told}");
        unreachable(&asked(&etcd).await, "right would be members of one cluster");
    });
}

#[test]
fn an_etcd_that_lost_what_it_knew_is_trusted_again_only_once_no_grant_can_be_in_force() {
    done(async {
        let store = store();
        let etcd = etcd(vec![serve(Arc::clone(&store), Duration::from_millis(10), at_once).await]);
        let pair = pair(Node::A, Nanos::from_millis(400));
        etcd.look(&pair).await.unwrap();
        *store.lock().unwrap() = Store::new(5, 1);
        let begin = clock::monotonic();
        unreachable(&etcd.ask(&pair, Arbitrate::Acquire(1)).await, "it has lost what it knew (its revision fell to 1)");
        while etcd.ask(&pair, Arbitrate::Acquire(1)).await.outcome == Arbitrated::Unreachable {
            sleep(Duration::from_millis(10)).await;
        }
        let waited = clock::monotonic().since(begin);
        assert!(waited >= Nanos::from_millis(400) && waited < Nanos::from_millis(900), "{waited}");
    });
}

#[test]
fn what_somebody_else_wrote_is_not_ours() {
    done(async {
        let store = store();
        store.lock().unwrap().put(KEY, "a filer-x");
        let etcd = etcd(vec![serve(Arc::clone(&store), Duration::from_secs(1), at_once).await]);
        let denied = asked(&etcd).await;
        assert!(denied.outcome == Arbitrated::Denied && denied.why.contains("g1 is a filer-x's"), "{denied:?}");
        etcd.ask(&a(), Arbitrate::Release(1)).await;
        assert_eq!(store.lock().unwrap().value(KEY).as_deref(), Some("a filer-x"));
    });
}

#[test]
fn a_grant_that_is_over_when_the_answer_comes_is_none() {
    let text = format!("{EXAMPLE}\n[arbiter]\ncommand = [\"/bin/sh\", \"-c\", \"echo ttl 1; sleep 1.1\"]\n");
    let arbiter = Arbiter::new(&Config::parse(&text, "test.toml").unwrap(), Node::A).unwrap();
    let late = done(arbiter.ask(Arbitrate::Acquire(1)));
    unreachable(&late, "but the answer came too late");
    // What is given back is not granted for any time.
    let released = done(arbiter.ask(Arbitrate::Release(1)));
    assert!(matches!(released.outcome, Arbitrated::Granted { groups: 0, .. }), "{released:?}");
}

#[test]
fn a_token_that_has_expired_and_a_lease_that_is_gone_grant_nothing() {
    let refusals = [
        ("/v3/lease/grant", "etcdserver: invalid auth token", 16),
        ("/v3/kv/txn", "etcdserver: invalid auth token", 16),
        ("/v3/kv/txn", "etcdserver: revision of auth store is old", 3),
        ("/v3/kv/txn", "etcdserver: requested lease not found", 5),
        ("/v3/lease/grant", "etcdserver: no leader", 14),
    ];
    done(async {
        for (path, message, code) in refusals {
            let store = store();
            let instead = json!({ "error": message, "code": code, "message": message });
            store.lock().unwrap().instead.insert(path, instead);
            let etcd = etcd(vec![serve(Arc::clone(&store), Duration::from_secs(1), at_once).await]);
            unreachable(&asked(&etcd).await, message);
            assert_eq!(store.lock().unwrap().value(KEY), None);
            // It is asked for a new one the next time.
            store.lock().unwrap().instead.clear();
            assert!(matches!(asked(&etcd).await.outcome, Arbitrated::Granted { groups: 1, .. }), "{message}");
        }
    });
}

#[test]
fn a_key_whose_lease_is_lost_is_its_holders_until_that_one_gives_it_back() {
    done(async {
        let store = store();
        let etcd = etcd(vec![serve(Arc::clone(&store), Duration::from_secs(1), at_once).await]);
        let b = pair(Node::B, Nanos::from_millis(1_000));
        // As after a restore: the key is there, and no lease that would end it.
        store.lock().unwrap().put(KEY, "b filer-b");
        let granted = |answered: &ArbiterAnswer| matches!(answered.outcome, Arbitrated::Granted { groups: 1, .. });
        for _ in 0..3 {
            assert!(!granted(&asked(&etcd).await));
            sleep(Duration::from_millis(500)).await;
        }
        // Its holder is granted it, which puts it under a lease again, and that ends.
        while !granted(&etcd.ask(&b, Arbitrate::Acquire(1)).await) {}
        let begin = clock::monotonic();
        while !granted(&asked(&etcd).await) {
            assert!(clock::monotonic().since(begin) < Nanos::from_millis(30_000));
            sleep(Duration::from_millis(10)).await;
        }
    });
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 8) % most
    }

    fn ms(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.below(most))
    }
}

/// A network that loses one in six questions, delays one in four beyond patience, and doubles one in four, hundreds of ms apart.
fn bad_network(seed: u64) -> impl FnMut() -> Course + Send + 'static {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    move || {
        let first = if random.below(4) == 0 { random.ms(900) } else { random.ms(4) };
        let arrives = match random.below(12) {
            0 | 1 => Vec::new(),
            2..5 => vec![first, first + random.ms(900)],
            _ => vec![first],
        };
        Course { arrives, answer: random.ms(8), lost: random.below(6) == 0 }
    }
}

type Held = Arc<Mutex<Vec<(Node, Nanos, Nanos)>>>;

/// A controller that asks for a group, keeps it for a while, and gives it back, three times a second.
async fn contend(node: Node, endpoint: Endpoint, seed: u64, held: Held) {
    let etcd = etcd(vec![endpoint.clone(), endpoint]);
    let pair = pair(node, Nanos::from_millis(600));
    let mut random = Random(seed.wrapping_mul(31).wrapping_add(u64::from(node.wire())) | 1);
    for _ in 0..10 {
        sleep(random.ms(300)).await;
        if random.below(4) == 0 {
            let now = clock::monotonic();
            for (_, _, until) in held.lock().unwrap().iter_mut().filter(|(whose, ..)| *whose == node) {
                *until = (*until).min(now);
            }
            etcd.ask(&pair, Arbitrate::Release(1)).await;
            continue;
        }
        if let Arbitrated::Granted { groups: 1, until } = etcd.ask(&pair, Arbitrate::Acquire(1)).await.outcome {
            let now = clock::monotonic();
            held.lock().unwrap().push((node, now.min(until), until));
        }
    }
}

#[test]
fn questions_that_are_lost_late_or_doubled_never_give_a_group_to_both() {
    let mut grants = [0; 2];
    done(async {
        let mut runs = JoinSet::new();
        for seed in 0..100 {
            let held = Held::default();
            let store = store();
            runs.spawn(async move {
                let mut contenders = JoinSet::new();
                for node in [Node::A, Node::B] {
                    // A second of etcd's lasts as long as the ttl here.
                    let network = bad_network(seed * 2 + u64::from(node.wire()));
                    let endpoint = serve(Arc::clone(&store), Duration::from_millis(600), network).await;
                    contenders.spawn(contend(node, endpoint, seed, Arc::clone(&held)));
                }
                contenders.join_all().await;
                (seed, held.lock().unwrap().clone())
            });
        }
        while let Some(Ok((seed, held))) = runs.join_next().await {
            let of = |node| held.iter().filter(move |(whose, ..)| *whose == node);
            for (_, from, until) in of(Node::A) {
                let both = of(Node::B).find(|(_, f, u)| f.max(from) < u.min(until));
                assert!(both.is_none(), "seed {seed}: a had it from {from} to {until}, b {both:?}");
            }
            grants[0] += of(Node::A).count();
            grants[1] += of(Node::B).count();
        }
    });
    println!("{grants:?} grants");
    assert!(grants.iter().all(|count| *count > 50), "{grants:?}");
}

#[test]
fn certificates_and_keys_that_can_never_be_used_are_named_before_anybody_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (empty, text) = (put("empty", ""), put("text", "no PEM"));
    let damaged = put("damaged", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let cut = put("cut", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let garbled = put("garbled", "-----BEGIN PRIVATE KEY-----\n%%%%\n-----END PRIVATE KEY-----\n");
    let large = put("large", &"x".repeat(1024 * 1024 + 1));
    let config = |endpoint: &str, files: &str| {
        Config::parse(&format!("{EXAMPLE}\n[arbiter]\netcd = [\"{endpoint}\"]\n{files}"), "test.toml").unwrap()
    };
    for (file, words) in [
        ("/nonexistent/ca.pem", "ENOENT: No such file or directory; put the file there, or correct its path"),
        ("/dev/zero", "not a file; right would be the path of a file"),
        (&empty, "nothing in it; put there what the file is to hold"),
        (&text, "no certificate in it; right would be a file with certificates in PEM"),
        (&damaged, "right would be certificates of authorities"),
        (&cut, "right would be a file with certificates in PEM"),
        (&large, "larger than 1048576 bytes"),
    ] {
        let config = config("https://127.0.0.1:1", &format!("ca_file = \"{file}\"\n"));
        let said: Vec<_> = check(&config).iter().map(ToString::to_string).collect();
        let begin = format!("arbiter.ca_file = \"{file}\": ");
        assert!(said.len() == 1 && said[0].starts_with(&begin) && said[0].contains(words), "{words}: {said:?}");
        let refused = ensure_usable(&config).unwrap_err().to_string();
        assert_eq!(refused, format!("the arbiter could never be asked: {}", said[0]));
        // Said once, not for each endpoint.
        let arbiter = Arbiter::new(&config, Node::A).unwrap();
        assert_eq!(
            (done(arbiter.look()), done(arbiter.ask(Arbitrate::Acquire(1))).why),
            (Err(said[0].clone()), said[0].clone())
        );
    }
    // All of them, also where no endpoint needs them.
    let files = format!("ca_file = \"{empty}\"\ncert_file = \"{text}\"\nkey_file = \"{garbled}\"\n");
    let said: Vec<_> = check(&config("http://127.0.0.1:1", &files)).iter().map(ToString::to_string).collect();
    let begins = ["arbiter.ca_file = ", "arbiter.cert_file = ", "arbiter.key_file = "];
    assert!(said.len() == 3 && said.iter().zip(begins).all(|(said, begin)| said.starts_with(begin)), "{said:#?}");
    assert!(said[2].ends_with("right would be a private key in PEM"), "{said:?}");
    let none = check(&config("http://127.0.0.1:1", &format!("cert_file = \"{damaged}\"\nkey_file = \"{text}\"\n")));
    assert!(none[0].to_string().ends_with("no private key in it; right would be one in PEM"), "{none:?}");
    for plain in [config("http://127.0.0.1:1", ""), Config::parse(EXAMPLE, "test.toml").unwrap()] {
        assert_eq!(check(&plain), []);
        ensure_usable(&plain).unwrap();
    }
}
