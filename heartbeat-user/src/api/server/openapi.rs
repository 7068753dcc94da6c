//! What the API offers, as an OpenAPI 3.1 document made from the types that it answers with.

use super::answers::{Accepted, Channels, Events, Facts, Groups, Healthy, Refused, Verdicts};
use crate::{api::Status, latency::Histograms};
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

type Answers = fn(&mut SchemaGenerator) -> Schema;

/// A request: method, path, what it answers; the schema of the answer, where that is JSON, else its type.
const REQUESTS: [(&str, &str, &str, Result<Answers, &str>); 16] = [
    ("get", "/healthz", "Whether the agent works: 200 or 503", Ok(SchemaGenerator::subschema_for::<Healthy>)),
    ("get", "/metrics", "The same facts for Prometheus", Err("text/plain")),
    ("get", "/v1/status", "Everything that the agent knows now", Ok(SchemaGenerator::subschema_for::<Status>)),
    ("get", "/v1/channels", "The channels", Ok(SchemaGenerator::subschema_for::<Facts<Channels>>)),
    ("get", "/v1/groups", "The groups", Ok(SchemaGenerator::subschema_for::<Facts<Groups>>)),
    (
        "get",
        "/v1/verdicts",
        "The last 64 verdicts and faults, oldest first",
        Ok(SchemaGenerator::subschema_for::<Facts<Verdicts>>),
    ),
    (
        "get",
        "/v1/events",
        "Events, oldest first: ?since=ID&severity=warning&limit=1000",
        Ok(SchemaGenerator::subschema_for::<Facts<Events>>),
    ),
    (
        "get",
        "/v1/stream",
        "Server-sent events: `event` (a Record, with its id), `status` (a Status), `lost`; ?since=ID",
        Err("text/event-stream"),
    ),
    ("get", "/v1/histograms", "All latencies; ?since=start|reset", Ok(SchemaGenerator::subschema_for::<Histograms>)),
    (
        "get",
        "/v1/histograms/{name}",
        "One of them (rtt/net1), or all of a kind (rtt); ?since=start|reset&format=text|hgrm|hlog|csv|json|svg",
        Err("text/plain"),
    ),
    ("get", "/v1/settings", "Every key of the configuration, with its consequence", Err("text/plain")),
    (
        "post",
        "/v1/histograms/reset",
        "What is counted so far is in since=reset no longer",
        Ok(SchemaGenerator::subschema_for::<Accepted>),
    ),
    (
        "post",
        "/v1/groups/{name}/takeover",
        "Have this controller hold a group; ?force=true although the peer is silent and may have it",
        Ok(SchemaGenerator::subschema_for::<Accepted>),
    ),
    ("post", "/v1/groups/{name}/release", "Have the peer hold a group", Ok(SchemaGenerator::subschema_for::<Accepted>)),
    (
        "post",
        "/v1/maintenance/{state}",
        "Let nothing move (on), or no longer so (off)",
        Ok(SchemaGenerator::subschema_for::<Accepted>),
    ),
    ("get", "/v1/openapi.json", "This document", Ok(|_| schemars::json_schema!({"type": "object"}))),
];

/// The document.
pub(super) fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let refused = generator.subschema_for::<Refused>();
    let mut paths = Map::new();
    for (method, path, summary, answers) in REQUESTS {
        let content = match answers {
            Ok(schema) => json!({"application/json": {"schema": schema(&mut generator)}}),
            Err(media) => json!({media: {"schema": {"type": "string"}}}),
        };
        let parameters: Vec<_> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
            .collect();
        let operation = json!({
            "summary": summary,
            "parameters": parameters,
            "security": if method == "post" { json!([{"token": []}]) } else { json!([]) },
            "responses": {
                "200": {"description": summary, "content": content},
                "default": {"description": "Refused", "content": {"application/json": {"schema": refused}}},
            },
        });
        let of_path = paths.entry(path).or_insert_with(|| json!({}));
        of_path[method] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Heartbeat",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What an agent knows, and orders to it. Over the Unix socket orders need root, over TCP the token.",
        },
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::EXAMPLE,
        events::{Kind, samples},
        types::Severity,
    };
    use std::{collections::BTreeSet, fs, path::Path};

    /// What operators read: each with its name.
    fn documents() -> Vec<(String, String)> {
        let user = Path::new(env!("CARGO_MANIFEST_DIR"));
        let of_docs = ["api.md", "configuration.md", "safety.md"].map(|name| user.join("docs").join(name));
        let all = [user.join("../README.md")].into_iter().chain(of_docs).filter(|path| path.exists());
        all.map(|path| (path.display().to_string(), fs::read_to_string(path).expect("a text"))).collect()
    }

    fn is_code(word: &str) -> bool {
        word.contains('_')
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    }

    /// What stands between backticks, alone.
    fn quoted(text: &str) -> impl Iterator<Item = &str> {
        text.split('`').skip(1).step_by(2)
    }

    #[test]
    fn documents_name_only_kinds_codes_fields_and_keys_that_exist() {
        let samples: Vec<_> = samples::all("net1").into_iter().map(|sample| sample.fields).collect();
        let known = format!("{}{EXAMPLE}{}", document(), json!(samples));
        let known: BTreeSet<_> = known.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
        for (name, text) in documents() {
            let unknown = quoted(&text).filter(|word| is_code(word) && !word.starts_with("heartbeat_"));
            let unknown: Vec<_> = unknown.filter(|word| !known.contains(word)).collect();
            assert!(unknown.is_empty(), "{name}: {unknown:?}");
        }
    }

    #[test]
    fn a_list_of_all_kinds_of_events_is_what_the_catalogue_says() {
        let letter = |severity: &Severity| severity.name()[..1].to_owned();
        for (name, text) in documents() {
            let Some((_, table)) = text.split_once("| kind | severity | what happened |\n") else { continue };
            let mut listed = BTreeSet::new();
            for row in table.lines().skip(1).take_while(|line| line.starts_with('|')) {
                let cells: Vec<_> = row.split('|').collect();
                let kinds: Vec<_> = quoted(cells[1]).collect();
                let letters: Vec<_> = cells[2].split(',').map(str::trim).collect();
                for (i, kind) in kinds.iter().enumerate() {
                    let kind = Kind::of_name(kind).unwrap_or_else(|| panic!("{name}: no event is {kind}"));
                    let severities: BTreeSet<_> = kind.row().severities.iter().map(letter).collect();
                    let said = if kinds.len() > 1 { vec![letters[i.min(letters.len() - 1)]] } else { letters.clone() };
                    assert_eq!(severities, said.into_iter().map(str::to_owned).collect(), "{name}: {kind}");
                    assert!(listed.insert(kind), "{name}: {kind} stands twice");
                }
            }
            assert_eq!(listed, Kind::ALL.iter().copied().collect(), "{name}");
        }
    }
}
