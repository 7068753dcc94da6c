//! What the API offers, as an OpenAPI 3.1 document made from the types that it answers with.

use super::routes::{Accepted, Channels, Events, Facts, Groups, Healthy, Refused, Verdicts};
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
