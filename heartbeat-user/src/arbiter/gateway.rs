//! A stand-in for etcd's gateway, for tests: a store with leases, behind a network that loses, delays and doubles.

use crate::config::Endpoint;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

/// What the network does with one question.
#[derive(Clone, Debug, Default)]
pub(super) struct Course {
    /// It arrives after this, and perhaps once more.
    pub(super) arrives: Vec<Duration>,
    /// The answer to the first arrival comes so much later.
    pub(super) answer: Duration,
    /// It does not come at all.
    pub(super) lost: bool,
}

#[derive(Clone, Debug)]
struct Key {
    value: Value,
    revision: u64,
    lease: u64,
}

/// The store.
#[derive(Debug, Default)]
pub(super) struct Store {
    cluster: u64,
    revision: u64,
    keys: BTreeMap<String, Key>,
    leases: BTreeMap<u64, Instant>,
    /// What is answered in place of what is right: by path.
    pub(super) instead: BTreeMap<&'static str, Value>,
    /// How many questions there were.
    pub(super) questions: u32,
}

fn number(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

impl Store {
    pub(super) fn new(cluster: u64, revision: u64) -> Self {
        Self { cluster, revision, ..Self::default() }
    }

    pub(super) fn put(&mut self, key: &str, value: &str) {
        self.revision += 1;
        let key = STANDARD.encode(key);
        self.keys.insert(key, Key { value: json!(STANDARD.encode(value)), revision: self.revision, lease: 0 });
    }

    pub(super) fn value(&mut self, key: &str) -> Option<String> {
        self.expire();
        let value = self.keys.get(&STANDARD.encode(key))?.value.as_str()?;
        Some(String::from_utf8(STANDARD.decode(value).unwrap()).unwrap())
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let dead: Vec<_> = self.leases.iter().filter(|(_, until)| **until <= now).map(|(lease, _)| *lease).collect();
        for lease in dead {
            self.leases.remove(&lease);
            let before = self.keys.len();
            self.keys.retain(|_, key| key.lease != lease);
            self.revision += u64::from(self.keys.len() != before);
        }
    }

    pub(super) fn answer(&mut self, path: &str, question: &Value, ttl_unit: Duration) -> Value {
        self.expire();
        self.questions += 1;
        if let Some(instead) = self.instead.get(path) {
            return instead.clone();
        }
        match path {
            "/v3/lease/grant" => {
                let (id, ttl) = (number(&question["ID"]), number(&question["TTL"]));
                self.leases.insert(id, Instant::now() + ttl_unit * ttl as u32);
                json!({ "header": self.header(), "ID": id.to_string(), "TTL": ttl.to_string() })
            }
            "/v3/kv/txn" => self.transaction(question),
            _ => json!({ "error": "Not Found", "code": 5 }),
        }
    }

    fn header(&self) -> Value {
        let Self { cluster, revision, .. } = self;
        json!({ "cluster_id": cluster.to_string(), "revision": revision.to_string(), "raft_term": "2" })
    }

    fn transaction(&mut self, question: &Value) -> Value {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let revision = |key: &Value| self.keys.get(key.as_str().unwrap()).map_or(0, |key| key.revision);
        let holds = list(&question["compare"]).iter().all(|c| revision(&c["key"]) == number(&c["mod_revision"]));
        if !holds {
            return json!({ "header": self.header() });
        }
        let all = list(&question["success"]);
        let lease_is_there = |op: &Value| {
            let put = &op["request_put"];
            put.is_null() || self.leases.contains_key(&number(&put["lease"]))
        };
        if !all.iter().all(lease_is_there) {
            return json!({ "error": "etcdserver: requested lease not found", "code": 5 });
        }
        self.revision += u64::from(all.iter().any(|op| op["request_range"].is_null()));
        let responses: Vec<_> = all.iter().map(|op| self.operate(op)).collect();
        json!({ "header": self.header(), "succeeded": true, "responses": responses })
    }

    fn operate(&mut self, op: &Value) -> Value {
        let header = json!({ "revision": self.revision.to_string() });
        let text = |value: &Value| value["key"].as_str().unwrap().to_owned();
        if let range @ Value::Object(_) = &op["request_range"] {
            let Some(key) = self.keys.get(&text(range)) else {
                return json!({ "response_range": { "header": header } });
            };
            let kv = json!({ "key": range["key"], "mod_revision": key.revision.to_string(), "value": key.value });
            return json!({ "response_range": { "header": header, "kvs": [kv], "count": "1" } });
        }
        if let put @ Value::Object(_) = &op["request_put"] {
            let key = Key { value: put["value"].clone(), revision: self.revision, lease: number(&put["lease"]) };
            self.keys.insert(text(put), key);
            return json!({ "response_put": { "header": header } });
        }
        self.keys.remove(&text(&op["request_delete_range"]));
        json!({ "response_delete_range": { "header": header, "deleted": "1" } })
    }
}

/// A gateway on a port of its own, in front of a store; `course` says what becomes of each question. A second of a lease lasts
/// `ttl_unit`.
pub(super) async fn serve(
    store: Arc<Mutex<Store>>,
    ttl_unit: Duration,
    course: impl FnMut() -> Course + Send + 'static,
) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint { tls: false, host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
    let course = Arc::new(Mutex::new(course));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let course = course.lock().unwrap()();
            tokio::spawn(converse(stream, Arc::clone(&store), ttl_unit, course));
        }
    });
    endpoint
}

/// A gateway that answers every question with these bytes, and then keeps the connection.
pub(super) async fn parrot(bytes: Vec<u8>) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint { tls: false, host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let bytes = bytes.clone();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(&bytes).await;
                sleep(Duration::from_secs(60)).await;
            });
        }
    });
    endpoint
}

async fn converse(mut stream: TcpStream, store: Arc<Mutex<Store>>, ttl_unit: Duration, course: Course) {
    let Some((path, body)) = question(&mut stream).await else { return };
    let begin = Instant::now();
    let mut answer = None;
    for after in course.arrives {
        tokio::time::sleep_until(begin + after).await;
        let said = store.lock().unwrap().answer(&path, &body, ttl_unit);
        if answer.is_none() {
            let status = if said["error"].is_null() { "200 OK" } else { "404 Not Found" };
            answer = Some(response(status, &said.to_string()));
            if !course.lost {
                sleep(course.answer).await;
                // Twice: nothing says that a second one is not to another question.
                let answer = answer.clone().unwrap_or_default();
                let _ = stream.write_all(&[answer.clone(), answer].concat()).await;
            }
        }
    }
    // Who waits for what is lost, waits.
    sleep(Duration::from_secs(1)).await;
}

pub(super) fn response(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

async fn question(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    loop {
        let mut more = [0; 4096];
        let len = stream.read(&mut more).await.ok().filter(|len| *len > 0)?;
        bytes.extend(&more[..len]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if let Ok(value) = serde_json::from_str(body) {
            return Some((head.split(' ').nth(1)?.to_owned(), value));
        }
    }
}
