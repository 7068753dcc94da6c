//! The API: what it answers, to whom, and what it makes of requests that it cannot use.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Instant;

use heartbeat::latency::{Histograms, Snapshot};
use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::{Config, Lab, Node, Options};
use heartbeat_tests::scenario::{self, SOON, bring_up, changes, owners, until};
use serde_json::{Value, json};

const HTTP: &str = "127.0.0.1:9694";
const TOKEN: &str = "0123456789abcdef";

/// A pair that is well, with HTTP on both and a token.
fn serving() -> Lab {
    let lab = Lab::new(Options::default()).unwrap();
    let mut config = Config::usual();
    config.extra = scenario::serving(&lab, HTTP, TOKEN).unwrap();
    bring_up(&lab, &config).unwrap();
    lab
}

/// A connection to controller a's HTTP.
fn connect(lab: &Lab) -> TcpStream {
    let stream = lab.controller(Node::A).unwrap().run(|| TcpStream::connect(HTTP)).unwrap().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// Status code and body of the answer to `head`, lines of a request.
fn ask(lab: &Lab, head: &[&str]) -> (u16, String) {
    let mut stream = connect(lab);
    // Who is turned away while he still writes cannot write the rest.
    let _ = write!(stream, "{}\r\nConnection: close\r\n\r\n", head.join("\r\n"));
    answer(&mut stream)
}

fn answer(stream: &mut impl std::io::Read) -> (u16, String) {
    let mut text = String::new();
    // Who is turned away while he still writes is told by a reset.
    let _ = stream.read_to_string(&mut text);
    let code = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (code, text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
}

fn get(lab: &Lab, path: &str) -> (u16, String) {
    ask(lab, &[&format!("GET {path} HTTP/1.1"), "Host: localhost"])
}

fn post(lab: &Lab, path: &str, token: &str) -> (u16, Value) {
    let authorization = format!("Authorization: Bearer {token}");
    let (code, body) = ask(lab, &[&format!("POST {path} HTTP/1.1"), "Host: localhost", &authorization]);
    (code, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body:?}")))
}

fn events(lab: &Lab, query: &str) -> Vec<Value> {
    let (code, body) = get(lab, &format!("/v1/events{query}"));
    assert_eq!(code, 200, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["events"].as_array().unwrap().clone()
}

#[test]
fn every_answer_is_as_the_published_document_says_and_gives_its_age() {
    undisturbed(|| {
        let lab = serving();
        lab.cut("a-net1").unwrap();
        lab.wait_event(Node::A, |line| line.is_of("channel_bad", "net1"), SOON).unwrap();
        let document: Value = serde_json::from_str(&get(&lab, "/v1/openapi.json").1).unwrap();
        let mut seen = 0;
        for (path, operations) in document["paths"].as_object().unwrap() {
            let Some(operation) = operations.get("get") else { continue };
            let content = &operation["responses"]["200"]["content"];
            if path == "/v1/stream" {
                continue;
            }
            let path = &path.replace("{name}", "rtt/net1");
            let (code, body) = get(&lab, path);
            assert_eq!(code, 200, "{path}: {body}");
            let Some(schema) = content["application/json"].get("schema") else { continue };
            let whole = json!({"allOf": [schema], "components": document["components"]});
            let body: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}"));
            let validator = jsonschema::validator_for(&whole).unwrap();
            let errors: Vec<_> = validator.iter_errors(&body).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{path}: {errors:?}");
            if path != "/v1/openapi.json" {
                assert!(body["age_ms"].as_f64().unwrap() < 1_000.0, "{path}: {body}");
                // A document that has everything in it is no schema for one that has not.
                assert!(!validator.is_valid(&json!({})), "{path}");
            }
            seen += 1;
        }
        assert_eq!(seen, 8, "{}", document["paths"]);
    });
}

#[test]
fn an_event_is_told_with_severity_sentence_and_evidence_and_can_be_asked_for_from_there_on() {
    undisturbed(|| {
        let lab = serving();
        let before = events(&lab, "?limit=1")[0]["id"].as_u64().unwrap();
        lab.cut("a-net1").unwrap();
        lab.wait_event(Node::A, |line| line.is_of("channel_bad", "net1"), SOON).unwrap();
        let after = events(&lab, &format!("?since={before}&severity=warning"));
        let bad = after.iter().find(|event| event["event"] == "channel_bad").unwrap();
        assert_eq!(
            (&bad["severity"], &bad["controller"], &bad["channel"]),
            (&json!("warning"), &json!("a"), &json!("net1"))
        );
        assert!(bad["text"].as_str().unwrap().starts_with("net1 is BAD: silent for "), "{bad}");
        assert!(bad["silent_ns"].as_u64().unwrap() > 200_000_000 && bad["id"].as_u64().unwrap() > before);
        assert!(after.iter().all(|event| event["severity"] != "info" && event["severity"] != "notice"));
        assert!(after.windows(2).all(|pair| pair[0]["id"].as_u64() < pair[1]["id"].as_u64()));
    });
}

#[test]
fn requests_that_cannot_be_answered_are_told_what_would_be_right() {
    undisturbed(|| {
        let lab = serving();
        for (path, code, words) in [
            ("/v2/status", 404, "there is no /v2/status"),
            ("/v1/events?since=yesterday", 400, "since=ID"),
            ("/v1/events?severity=loud", 400, "critical"),
            ("/v1/events?limit=0", 400, "1 to 4096"),
            ("/v1/events?sinse=1", 400, "sinse"),
            ("/v1/histograms?since=monday", 400, "start|reset"),
            ("/v1/maintenance/on", 405, "GET is nothing for"),
        ] {
            let (got, body) = get(&lab, path);
            assert_eq!(got, code, "{path}: {body}");
            let error = serde_json::from_str::<Value>(&body).unwrap()["error"].as_str().unwrap().to_owned();
            assert!(error.contains(words), "{path}: {error}");
        }
        // A name that could be anybody's: what a browser would say whom a foreign page has sent here.
        assert_eq!(ask(&lab, &["GET /v1/status HTTP/1.1", "Host: heartbeat.example"]).0, 421);
        assert_eq!(ask(&lab, &["GET /v1/status HTTP/1.1", "Host: [::1]:9694"]).0, 200);
        for garbage in ["nonsense", "GET /v1/status HTTP/9.9", "GET  HTTP/1.1", "\u{0}\u{1}\u{2}"] {
            assert!(matches!(ask(&lab, &[garbage]).0, 0 | 400), "{garbage:?}");
        }
        let long = format!("X: {}", "x".repeat(1 << 20));
        assert!(matches!(ask(&lab, &["GET /v1/status HTTP/1.1", "Host: localhost", &long]).0, 0 | 431));
        assert_eq!(get(&lab, "/v1/status").0, 200);
    });
}

#[test]
fn orders_over_http_need_the_token_and_are_carried_out() {
    undisturbed(|| {
        let lab = serving();
        let takeover = "/v1/groups/storage-b/takeover";
        for wrong in ["", "0123456789abcdeX", "0123456789abcde"] {
            let (code, body) = post(&lab, takeover, wrong);
            assert_eq!((code, body["error"].as_str().unwrap().contains("api.token_file")), (401, true), "{body}");
        }
        let (code, body) = post(&lab, "/v1/groups/nothing/takeover", TOKEN);
        assert_eq!((code, body["error"].as_str().unwrap().contains("storage-a, storage-b")), (404, true), "{body}");
        assert_eq!(post(&lab, "/v1/maintenance/maybe", TOKEN).0, 404);
        assert_eq!(post(&lab, takeover, TOKEN), (200, json!({"accepted": true})));
        until("a holds both", || Ok((owners(&lab.status(Node::A)?.json) == ["a", "a"]).then_some(()))).unwrap();
        assert_eq!(post(&lab, "/v1/maintenance/on", TOKEN).0, 200);
        let (code, body) = post(&lab, "/v1/groups/storage-b/release", TOKEN);
        assert_eq!(code, 409, "{body}");
        assert_eq!(post(&lab, "/v1/maintenance/off", TOKEN).0, 200);
    });
}

/// The next message of a stream: its name and its data.
fn message(stream: &mut impl std::io::BufRead) -> (String, Value) {
    let (mut name, mut data) = (String::new(), Value::Null);
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the stream ended");
        if let Some(value) = line.strip_prefix("event: ") {
            value.trim_end().clone_into(&mut name);
        } else if let Some(value) = line.strip_prefix("data: ") {
            data = serde_json::from_str(value).unwrap();
        } else if line.trim_end().is_empty() && !name.is_empty() {
            return (name, data);
        }
    }
}

#[test]
fn a_stream_begins_with_the_status_goes_on_after_the_last_id_and_tells_each_event_once() {
    undisturbed(|| {
        let lab = serving();
        let all: Vec<_> = events(&lab, "").iter().map(|event| event["id"].as_u64().unwrap()).collect();
        let mut stream = connect(&lab);
        write!(stream, "GET /v1/stream HTTP/1.0\r\nHost: localhost\r\nLast-Event-ID: {}\r\n\r\n", all[1]).unwrap();
        let mut stream = BufReader::new(stream);
        let (name, status) = message(&mut stream);
        assert_eq!((name.as_str(), &status["node"]), ("status", &json!("a")));
        lab.cut("a-net1").unwrap();
        let mut ids = Vec::new();
        loop {
            let (name, data) = message(&mut stream);
            if name == "event" {
                ids.push(data["id"].as_u64().unwrap());
                if data["event"] == "channel_bad" {
                    break;
                }
            }
        }
        assert_eq!(ids[..all.len() - 2], all[2..]);
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        let bad = loop {
            let (name, data) = message(&mut stream);
            if name == "status" {
                break data["channels"][0]["state"].clone();
            }
        };
        assert_eq!(bad, "bad", "the status follows the event");
    });
}

#[test]
fn whoever_is_slow_or_never_reads_keeps_nobody_else_waiting() {
    undisturbed(|| {
        let lab = serving();
        let mark = lab.mark(Node::A);
        // 500 listeners, of which none reads; and some that never finish their request.
        let listeners: Vec<_> = (0..500)
            .map(|_| {
                let mut stream = connect(&lab);
                stream.write_all(b"GET /v1/stream?since=0 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
                stream
            })
            .collect();
        let mut slow: Vec<_> = (0..50).map(|_| connect(&lab)).collect();
        for stream in &mut slow {
            stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: loc").unwrap();
        }
        for _ in 0..100 {
            assert_eq!(get(&lab, "/v1/status").0, 200);
        }
        // They are cut off by themselves.
        let begin = Instant::now();
        for mut stream in slow {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
        }
        assert!(begin.elapsed() < SOON, "{:?}", begin.elapsed());
        // Beyond the limit one is turned away, and the Unix socket still serves.
        let more: Vec<_> = (0..400).map(|_| connect(&lab)).collect();
        let socket = lab.runtime_dir(Node::A).join("api.sock");
        let mut local = UnixStream::connect(&socket).unwrap();
        local.set_read_timeout(Some(SOON)).unwrap();
        write!(local, "GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        assert_eq!(answer(&mut local).0, 200);
        drop((listeners, more));
        let found = changes(&lab, Node::A, mark);
        assert!(found.is_empty(), "{found:?}");
    });
}

#[test]
fn a_histogram_that_is_read_while_it_is_reset_is_whole() {
    undisturbed(|| {
        let lab = serving();
        let n = |document: &Value| document["n"].as_u64().unwrap();
        let begin = Instant::now();
        let mut reads = 0;
        thread::scope(|scope| {
            let resets = scope.spawn(|| {
                let mut resets = 0;
                while begin.elapsed() < SOON / 10 {
                    assert_eq!(post(&lab, "/v1/histograms/reset", TOKEN).0, 200);
                    resets += 1;
                }
                resets
            });
            while !resets.is_finished() {
                let (code, body) = get(&lab, "/v1/histograms?since=reset");
                assert_eq!(code, 200, "{body}");
                let all: Histograms = serde_json::from_str(&body).unwrap();
                for document in &all.histograms {
                    // It fails where the buckets have another number of values than is said.
                    let snapshot = Snapshot::try_from(document).unwrap();
                    assert!(
                        document.since_ns <= document.until_ns
                            && snapshot.counts.max() <= snapshot.counts.highest_equivalent(document.max_ns),
                        "{document:?}"
                    );
                }
                reads += 1;
            }
            assert!(resets.join().unwrap() > 10 && reads > 10, "{reads}");
        });
        // What is counted since the start is not touched by it.
        let all: Value = serde_json::from_str(&get(&lab, "/v1/histograms").1).unwrap();
        assert!(n(&all["histograms"][0]) > 10, "{all}");
    });
}

#[test]
fn what_the_configuration_asks_for_in_vain_is_said_and_guarding_goes_on() {
    undisturbed(|| {
        let lab = Lab::new(Options::default()).unwrap();
        let open = lab.folder().join("open");
        fs::write(&open, TOKEN).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
        let mut config = Config::usual();
        config.extra = format!(
            "[api]\nhttp = \"192.0.2.99:9694\"\ngroup = \"nobody-has-this\"\ntoken_file = \"{}\"\n",
            open.display()
        );
        bring_up(&lab, &config).unwrap();
        let said: Vec<_> = lab
            .events_since(Node::A, lab.run_begin(Node::A))
            .into_iter()
            .filter(|line| line.raw["level"] == "error")
            .map(|line| line.raw["message"].as_str().unwrap().to_owned())
            .collect();
        for words in ["api.http: 192.0.2.99:9694", "no group \"nobody-has-this\"", "mode 0644"] {
            assert!(said.iter().any(|line| line.contains(words)), "no {words:?} in {said:?}");
        }
    });
}
