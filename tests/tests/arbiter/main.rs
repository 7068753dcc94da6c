//! The arbiter's engines against what they are for: etcd with one member and with three, which are killed, stopped and cut off, and
//! a lease on a loop device.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod agents;
mod cluster;
mod disk;

use cluster::{Cluster, Host, ask};
use heartbeat::arbiter::{Arbiter, ArbiterAnswer};
use heartbeat::config::{Config, EXAMPLE};
use heartbeat::system::clock;
use heartbeat::{
    core::{Arbitrate, Arbitrated},
    types::{Nanos, Node},
};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How long anything may take that is not measured.
const SOON: Duration = Duration::from_secs(20);

/// The example's pair with another number and this arbiter.
fn config(pair: u32, arbiter: &str) -> Config {
    let text = EXAMPLE.replace("\nid = 7\n", &format!("\nid = {pair}\n"));
    Config::parse(&format!("{text}\n[arbiter]\n{arbiter}\n"), "test.toml").unwrap()
}

/// What a controller on that host is answered.
fn asked(host: &Host, config: &Config, node: Node, question: Arbitrate) -> ArbiterAnswer {
    let arbiter = Arbiter::new(config, node).unwrap();
    host.namespace.run(move || done(arbiter.ask(question))).unwrap()
}

fn looked(host: &Host, config: &Config) -> Result<String, String> {
    let arbiter = Arbiter::new(config, Node::A).unwrap();
    host.namespace.run(move || done(arbiter.look())).unwrap()
}

fn done<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Asks until it is answered as `right` says.
fn until(what: impl Fn() -> ArbiterAnswer, right: impl Fn(Arbitrated) -> bool) -> ArbiterAnswer {
    let deadline = Instant::now() + SOON;
    loop {
        let answered = what();
        if right(answered.outcome) {
            return answered;
        }
        assert!(Instant::now() < deadline, "{answered:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

const fn granted(outcome: Arbitrated) -> bool {
    matches!(outcome, Arbitrated::Granted { groups: 1.., .. })
}

fn end_of(answered: &ArbiterAnswer) -> Nanos {
    match answered.outcome {
        Arbitrated::Granted { until, .. } => until,
        _ => panic!("{answered:?}"),
    }
}

const ACQUIRE: Arbitrate = Arbitrate::Acquire(0b11);

#[test]
fn a_grant_outlives_an_etcd_that_is_killed_and_the_other_one_gets_it_only_when_it_is_over() {
    let cluster = Cluster::start(1, "http", &[]).unwrap();
    let [a, b] = &cluster.hosts;
    let config = config(1, &format!("etcd = {}\nttl = \"3s\"\ntimeout = \"300ms\"", cluster.endpoints("http")));
    let first = asked(a, &config, Node::A, ACQUIRE);
    assert!(first.why.ends_with("granted storage-a, storage-b for 3s"), "{first:?}");
    let denied = asked(b, &config, Node::B, ACQUIRE);
    assert!(denied.outcome == Arbitrated::Denied && denied.why.contains("storage-a is a filer-a's"), "{denied:?}");
    assert!(looked(b, &config).unwrap().contains("storage-b is granted to this controller"));

    cluster.members[0].kill();
    let killed = asked(b, &config, Node::B, ACQUIRE);
    assert!(killed.outcome == Arbitrated::Unreachable && killed.why.contains("Connection refused"), "{killed:?}");
    assert!(looked(a, &config).unwrap_err().starts_with("0 of 1 endpoints answer"));
    cluster.members[0].begin().unwrap();
    cluster.wait(&cluster.members[0]).unwrap();
    assert_eq!(asked(b, &config, Node::B, ACQUIRE).outcome, Arbitrated::Denied);

    let second = until(|| asked(b, &config, Node::B, ACQUIRE), granted);
    assert!(clock::monotonic() > end_of(&first), "b had it before a's was over");
    assert_eq!(asked(a, &config, Node::A, Arbitrate::Renew(0b11)).outcome, Arbitrated::Denied);
    asked(b, &config, Node::B, Arbitrate::Release(0b01));
    let some = asked(a, &config, Node::A, ACQUIRE);
    assert!(matches!(some.outcome, Arbitrated::Granted { groups: 0b01, .. }), "{some:?}; {second:?}");
}

#[test]
fn a_question_to_an_etcd_that_stands_still_is_bounded_and_does_nothing_when_it_arrives_late() {
    let cluster = Cluster::start(1, "http", &[]).unwrap();
    let [a, b] = &cluster.hosts;
    let config = config(1, &format!("etcd = {}\nttl = \"2s\"\ntimeout = \"200ms\"", cluster.endpoints("http")));
    until(|| asked(a, &config, Node::A, ACQUIRE), granted);
    cluster.members[0].pause(true);
    let begin = Instant::now();
    let still = asked(a, &config, Node::A, Arbitrate::Release(0b11));
    assert!(still.why.ends_with("no answer within 200ms") && begin.elapsed() < Duration::from_secs(1), "{still:?}");
    cluster.members[0].pause(false);
    cluster.wait(&cluster.members[0]).unwrap();
    // Whatever arrived, one of the two has it.
    let of_b = until(|| asked(b, &config, Node::B, ACQUIRE), granted);
    assert_eq!(asked(a, &config, Node::A, ACQUIRE).outcome, Arbitrated::Denied, "{of_b:?}");
}

#[test]
fn three_members_lose_their_leader_by_death_by_standing_still_and_by_its_cable_and_go_on_granting() {
    let cluster = Cluster::start(3, "http", &[]).unwrap();
    let [a, b] = &cluster.hosts;
    let config = config(1, &format!("etcd = {}\nttl = \"4s\"\ntimeout = \"300ms\"", cluster.endpoints("http")));
    for fault in ["killed", "stopped", "cut off"] {
        let before = until(|| asked(a, &config, Node::A, ACQUIRE), granted);
        let leader = &cluster.members[cluster.leader().unwrap()];
        match fault {
            "killed" => leader.kill(),
            "stopped" => leader.pause(true),
            _ => cluster.cut(&leader.host, true).unwrap(),
        }
        let begin = Instant::now();
        let after = until(|| asked(a, &config, Node::A, Arbitrate::Renew(0b11)), granted);
        println!("leader {fault}: granted again after {:?}", begin.elapsed());
        assert!(end_of(&after) > end_of(&before));
        assert_eq!(asked(b, &config, Node::B, ACQUIRE).outcome, Arbitrated::Denied);
        assert!(looked(a, &config).unwrap_err().starts_with("2 of 3 endpoints answer"));
        match fault {
            "killed" => leader.begin().unwrap(),
            "stopped" => leader.pause(false),
            _ => cluster.cut(&leader.host, false).unwrap(),
        }
        cluster.wait(leader).unwrap();
        let deadline = Instant::now() + SOON;
        while looked(a, &config).is_err() {
            assert!(Instant::now() < deadline, "{:?}", looked(a, &config));
        }
    }
    // A controller that is cut off is not granted anything; the other one is, once that is over.
    let last = until(|| asked(a, &config, Node::A, Arbitrate::Renew(0b11)), granted);
    cluster.cut(a, true).unwrap();
    until(|| asked(b, &config, Node::B, ACQUIRE), granted);
    assert!(clock::monotonic() > end_of(&last));
    assert_eq!(asked(a, &config, Node::A, Arbitrate::Renew(0b11)).outcome, Arbitrated::Unreachable);
}

/// A file of that name with that text, readable by its owner only.
fn secret(cluster: &Cluster, name: &str, text: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let file = cluster.folder().join(name);
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file.display().to_string()
}

#[test]
fn a_user_who_may_only_what_is_needed_is_enough_and_a_wrong_password_is_named() {
    let cluster = Cluster::start(1, "http", &[]).unwrap();
    let arbiter = |password: &str| {
        let file = secret(&cluster, "password", password);
        config(1, &format!("etcd = {}\nuser = \"hb\"\npassword_file = \"{file}\"", cluster.endpoints("http")))
    };
    let config = arbiter("secret\n");
    // heartbeat/1/ to heartbeat/10, which is the next text after all that begin so.
    let permission = r#"{"permType":"READWRITE","key":"aGVhcnRiZWF0LzEv","range_end":"aGVhcnRiZWF0LzEw"}"#;
    for (path, body) in [
        ("user/add", r#"{"name":"root","password":"r"}"#.to_owned()),
        ("role/add", r#"{"name":"root"}"#.to_owned()),
        ("user/grant", r#"{"user":"root","role":"root"}"#.to_owned()),
        ("user/add", r#"{"name":"hb","password":"secret"}"#.to_owned()),
        ("role/add", r#"{"name":"hb"}"#.to_owned()),
        ("role/grant", format!(r#"{{"name":"hb","perm":{permission}}}"#)),
        ("user/grant", r#"{"user":"hb","role":"hb"}"#.to_owned()),
        ("enable", "{}".to_owned()),
    ] {
        let said =
            cluster.members[0].host.namespace.run(move || ask(&format!("/v3/auth/{path}"), &body)).unwrap().unwrap();
        assert!(said.contains("200 OK"), "{path}: {said}");
    }
    let [a, b] = &cluster.hosts;
    let first = asked(a, &config, Node::A, ACQUIRE);
    assert!(granted(first.outcome), "{first:?}");
    assert_eq!(asked(b, &config, Node::B, ACQUIRE).outcome, Arbitrated::Denied);
    asked(a, &config, Node::A, Arbitrate::Release(0b11));
    assert!(granted(asked(b, &config, Node::B, ACQUIRE).outcome));
    let wrong = asked(a, &arbiter("other"), Node::A, ACQUIRE);
    assert!(wrong.outcome == Arbitrated::Unreachable && wrong.why.contains("arbiter.user = hb: 400"), "{wrong:?}");
    let nobody = without_user(&cluster);
    let without = asked(a, &nobody, Node::A, ACQUIRE);
    assert!(without.why.contains("user name is empty"), "{without:?}");
}

/// That etcd without a user.
fn without_user(cluster: &Cluster) -> Config {
    config(1, &format!("etcd = {}", cluster.endpoints("http")))
}

/// Certificates in a folder: an authority, etcd's for its address, the client's, and another authority.
fn certificates(folder: &std::path::Path) {
    let run = |arguments: &str| {
        let done = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().unwrap();
        assert!(done.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2";
    for authority in ["ca", "other"] {
        run(&format!("req -x509 {new} -keyout {authority}.key -out {authority}.pem -subj /CN={authority}"));
    }
    // etcd's gateway is a client of etcd, by the server's certificate.
    std::fs::write(folder.join("server.ext"), "subjectAltName=IP:10.7.0.1\nextendedKeyUsage=serverAuth,clientAuth")
        .unwrap();
    std::fs::write(folder.join("client.ext"), "extendedKeyUsage=clientAuth\nsubjectAltName=DNS:filer").unwrap();
    for name in ["server", "client"] {
        run(&format!("req -new {} -keyout {name}.key -out {name}.csr -subj /CN={name}", new.replace(" -days 2", "")));
        run(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.pem"
        ));
    }
}

#[test]
fn etcd_by_tls_asks_for_our_certificate_and_is_asked_for_its_own() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let arguments = [
        format!("--cert-file={}", file("server.pem")),
        format!("--key-file={}", file("server.key")),
        format!("--trusted-ca-file={}", file("ca.pem")),
        "--client-cert-auth".to_owned(),
    ];
    let cluster = Cluster::start(1, "https", &arguments.each_ref().map(String::as_str)).unwrap();
    let [a, _] = &cluster.hosts;
    let answer = |ca: &str, identity: &str| {
        let text = format!("etcd = {}\nca_file = \"{}\"\n{identity}", cluster.endpoints("https"), file(ca));
        asked(a, &config(1, &text), Node::A, ACQUIRE)
    };
    let identity =
        |certificate: &str, key: &str| format!("cert_file = \"{}\"\nkey_file = \"{}\"", file(certificate), file(key));
    let right = answer("ca.pem", &identity("client.pem", "client.key"));
    assert!(granted(right.outcome), "{right:?}");
    for (ca, identity, words) in [
        ("other.pem", identity("client.pem", "client.key"), "no TLS: invalid peer certificate: UnknownIssuer"),
        ("ca.pem", String::new(), "received fatal alert: BadCertificate"),
        ("ca.pem", identity("other.pem", "other.key"), "https://10.7.0.1:2379: not HTTP, or it broke off"),
        ("ca.pem", identity("client.pem", "server.key"), "right would be the key of arbiter.cert_file"),
        ("ca.key", String::new(), "ca.key\": no certificate in it; right would be"),
        ("none.pem", String::new(), "arbiter.ca_file = "),
        ("ca.pem", identity("client.pem", "none.key"), "arbiter.key_file = "),
        ("ca.pem", identity("none.pem", "client.key"), "arbiter.cert_file = "),
    ] {
        let wrong = answer(ca, &identity);
        assert!(wrong.outcome == Arbitrated::Unreachable && wrong.why.contains(words), "{words}: {wrong:?}");
    }
}

/// xorshift64*
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn of(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

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

#[derive(Clone, Copy, Debug)]
struct Held {
    from: Nanos,
    until: Nanos,
}

/// Takes a group, serves alone with it for a while, and gives it back or falls silent; until `over`.
async fn contend(config: Config, node: Node, seed: u64, over: Arc<AtomicBool>) -> Vec<Held> {
    let mut arbiter = Arbiter::new(&config, node).unwrap();
    let mut random = Random::of(seed * 2 + u64::from(node.wire()));
    let mut held: Vec<Held> = Vec::new();
    while !over.load(Relaxed) {
        sleep(random.ms(if random.clone().below(5) == 0 { 3_000 } else { 600 })).await;
        match random.below(8) {
            // What is asked for is given up on halfway: it may arrive.
            0 => {
                let _ = tokio::time::timeout(random.ms(6), arbiter.ask(Arbitrate::Acquire(1))).await;
                continue;
            }
            // A new life of the agent.
            1 => arbiter = Arbiter::new(&config, node).unwrap(),
            2 | 3 => {
                let now = clock::monotonic();
                for held in &mut held {
                    held.until = held.until.min(now);
                }
                arbiter.ask(Arbitrate::Release(1)).await;
                continue;
            }
            _ => {}
        }
        if let Arbitrated::Granted { groups: 1, until } = arbiter.ask(Arbitrate::Acquire(1)).await.outcome {
            held.push(Held { from: clock::monotonic().min(until), until });
        }
    }
    held
}

/// All the pairs of a round, as one of their controllers.
fn contenders(
    host: &Host,
    node: Node,
    endpoints: &str,
    seeds: std::ops::Range<u64>,
    over: &Arc<AtomicBool>,
) -> JoinHandle<Vec<(u64, Vec<Held>)>> {
    let (arbiter, over) = (format!("etcd = {endpoints}\nttl = \"2s\"\ntimeout = \"250ms\""), Arc::clone(over));
    let run = move || {
        done(async {
            let mut all = JoinSet::new();
            for seed in seeds {
                let contending = contend(config(1_000 + seed as u32, &arbiter), node, seed, Arc::clone(&over));
                all.spawn(async move { (seed, contending.await) });
            }
            all.join_all().await
        })
    };
    host.namespace.run(move || thread::spawn(run)).unwrap()
}

/// Breaks and mends members, cables and hosts until a time.
fn break_things(cluster: &Cluster, mut random: Random, end: Instant) -> Vec<String> {
    let mut told = Vec::new();
    while Instant::now() < end {
        thread::sleep(random.ms(700));
        let leads = cluster.leader().unwrap_or(0);
        let at = if random.below(2) == 0 { leads } else { random.below(cluster.members.len() as u64) as usize };
        let (member, host, lasts) = (&cluster.members[at], &cluster.hosts[at % 2], random.ms(2_500));
        let fault = random.below(4);
        match fault {
            0 => member.kill(),
            1 => member.pause(true),
            2 => cluster.cut(&member.host, true).unwrap(),
            _ => cluster.cut(host, true).unwrap(),
        }
        let what = ["killed", "stopped", "cut off", "of two hosts cut off"][fault as usize];
        told.push(format!("{at} {what} for {lasts:?}"));
        thread::sleep(lasts);
        match fault {
            0 => member.begin().unwrap(),
            1 => member.pause(false),
            2 => cluster.cut(&member.host, false).unwrap(),
            _ => cluster.cut(host, false).unwrap(),
        }
    }
    told
}

/// With `HEARTBEAT_TRIALS=20`, 20 rounds of 50 pairs.
#[test]
fn whatever_is_killed_stopped_or_cut_off_two_controllers_never_have_a_group_both() {
    const PAIRS: u64 = 50;
    let rounds = std::env::var("HEARTBEAT_TRIALS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    let cluster = Cluster::start(3, "http", &[]).unwrap();
    let endpoints = cluster.endpoints("http");
    let (mut grants, mut faults) = ([0; 2], 0);
    for round in 0..rounds {
        let seeds = round * PAIRS..(round + 1) * PAIRS;
        let over = Arc::new(AtomicBool::new(false));
        let [a, b] = [Node::A, Node::B]
            .map(|node| contenders(&cluster.hosts[usize::from(node.wire())], node, &endpoints, seeds.clone(), &over));
        let told = break_things(&cluster, Random::of(round), Instant::now() + Duration::from_secs(10));
        over.store(true, Relaxed);
        let histories = [a, b].map(|thread| {
            let mut all = thread.join().unwrap();
            all.sort_by_key(|(seed, _)| *seed);
            all
        });
        for ((seed, a), (_, b)) in histories[0].iter().zip(&histories[1]) {
            for (one, other) in a.iter().flat_map(|one| b.iter().map(move |other| (one, other))) {
                let both = one.from.max(other.from) < one.until.min(other.until);
                assert!(!both, "round {round}, pair {seed}: a {one:?}, b {other:?}; {told:#?}");
            }
            grants[0] += a.len();
            grants[1] += b.len();
        }
        faults += told.len();
    }
    println!("{rounds} rounds of {PAIRS} pairs, {faults} faults: {grants:?} grants, never both");
    assert!(grants.iter().all(|count| *count as u64 > rounds * PAIRS / 2), "{grants:?}");
}
