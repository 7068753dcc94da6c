//! The requests of the API and their answers: what each path gives, and who may ask and order.

use super::{
    answers::{Accepted, Channels, Events, Facts, Groups, Healthy, Refused, Verdicts},
    openapi,
    orders::{OrderReply, Request as OrderRequest},
    page, stream,
    world::{Origin, World},
};
use crate::{
    api::{self, Status},
    config::EXAMPLE,
    events::{
        Record,
        feed::{Entry, RING},
    },
    latency,
    system::clock,
    types::{Nanos, Severity},
};
use axum::{
    Extension, Json, Router,
    extract::{Path, Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use std::{
    net::IpAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::{sync::oneshot, time::timeout};

/// Events in one answer, at most and by default.
const MOST_EVENTS: usize = RING;
const SOME_EVENTS: usize = 1_000;
/// How long an order may take to be accepted or refused.
const ORDER_PATIENCE: Duration = Duration::from_secs(4);

type Result<T> = std::result::Result<T, Error>;

/// A refusal.
pub(super) struct Error(StatusCode, String);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        (self.0, Json(Refused { error: self.1 })).into_response()
    }
}

type Shared = State<Arc<World>>;

pub(super) fn router(context: Arc<World>) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/healthz", get(healthy))
        .route("/metrics", get(metrics))
        .route("/v1/openapi.json", get(|| async { Json(openapi::document()) }))
        .route("/v1/settings", get(|| async { EXAMPLE }))
        .route("/v1/status", get(status))
        .route("/v1/channels", get(channels))
        .route("/v1/groups", get(groups))
        .route("/v1/verdicts", get(verdicts))
        .route("/v1/events", get(events))
        .route("/v1/stream", get(listen))
        .route("/v1/histograms", get(histograms))
        .route("/v1/histograms/reset", post(reset))
        .route("/v1/histograms/{*name}", get(histogram))
        .route("/v1/groups/{name}/takeover", post(takeover))
        .route("/v1/groups/{name}/release", post(release))
        .route("/v1/maintenance/{state}", post(maintenance))
        .fallback(async |request: Request| {
            Error(
                StatusCode::NOT_FOUND,
                format!("there is no {}; /v1/openapi.json lists what there is", request.uri().path()),
            )
        })
        .method_not_allowed_fallback(async |request: Request| {
            let (method, path) = (request.method(), request.uri().path());
            Error(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("{method} is nothing for {path}; /v1/openapi.json says what is"),
            )
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&context), admit))
        .with_state(context)
}

/// Over TCP, a name in `Host` may be anybody's who wants a browser to read this for him: addresses and `localhost` are not. An order
/// needs root, or the token.
async fn admit(State(context): Shared, Extension(origin): Extension<Origin>, request: Request, next: Next) -> Response {
    context.requests.fetch_add(1, Relaxed);
    let refusal = match origin {
        Origin::Unix { root: true } => None,
        Origin::Unix { root: false } if request.method() == "POST" && !context.may_order(request.headers()) => {
            Some(Error(StatusCode::FORBIDDEN, "orders are root's over this socket".into()))
        }
        Origin::Unix { .. } => None,
        Origin::Tcp if !is_ours(request.headers()) => {
            let host = request.headers().get(header::HOST);
            let error = format!("Host {host:?} is not this agent; right would be its IP address or localhost");
            Some(Error(StatusCode::MISDIRECTED_REQUEST, error))
        }
        Origin::Tcp if request.method() == "POST" && !context.may_order(request.headers()) => {
            let error = match context.token {
                Some(_) => "orders need `Authorization: Bearer TOKEN` with the token of api.token_file",
                None => "no orders are taken over TCP: the configuration has no api.token_file",
            };
            Some(Error(StatusCode::UNAUTHORIZED, error.into()))
        }
        Origin::Tcp => None,
    };
    let mut response = match refusal {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn is_ours(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    };
    name == "localhost" || name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

impl World {
    fn may_order(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        // As long for a wrong one as for the right one.
        let same = |a: &[u8], b: &[u8]| a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (x, y)| sum | (x ^ y)) == 0;
        self.token.as_ref().zip(given).is_some_and(|(token, given)| same(token.as_bytes(), given.as_bytes()))
    }

    fn fresh(&self) -> Status {
        Status::new(&self.facts, &self.facts.view())
    }
}

fn age(at: Nanos) -> f64 {
    (clock::monotonic().since(at).0 / 1_000) as f64 / 1e3
}

async fn status(State(context): Shared) -> Result<Response> {
    let json = context.cache.status(&context.facts);
    let json = json.map_err(|error| Error(StatusCode::INTERNAL_SERVER_ERROR, format!("no JSON: {error}")))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json.to_string()).into_response())
}

async fn healthy(State(context): Shared) -> Result<Json<Healthy>> {
    /// A pulse thread that shows nothing for so long stands still.
    const STALE_MS: f64 = 5_000.0;
    let age_ms = age(context.facts.view().at);
    if age_ms > STALE_MS {
        return Err(Error(StatusCode::SERVICE_UNAVAILABLE, format!("the facts are {age_ms} ms old")));
    }
    Ok(Json(Healthy { age_ms, healthy: true }))
}

async fn metrics(State(context): Shared) -> Result<Response> {
    let snapshots = context.histograms.take(&context.facts.counts(), latency::Since::Start);
    let text = api::metrics::metrics(&context.facts, &context.fresh(), &snapshots, context.requests.load(Relaxed));
    let text = text.map_err(|error| Error(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")))?;
    Ok(([(header::CONTENT_TYPE, api::metrics::CONTENT_TYPE)], text).into_response())
}

async fn channels(State(context): Shared) -> Result<Json<Facts<Channels>>> {
    let Status { age_ms, channels, .. } = context.fresh();
    Ok(Json(Facts { age_ms, facts: Channels { channels } }))
}

async fn groups(State(context): Shared) -> Result<Json<Facts<Groups>>> {
    let Status { age_ms, groups, .. } = context.fresh();
    Ok(Json(Facts { age_ms, facts: Groups { groups } }))
}

fn records(entries: &[Arc<Entry>]) -> Vec<Record> {
    entries.iter().map(|entry| entry.record.clone()).collect()
}

async fn verdicts(State(context): Shared) -> Result<Json<Facts<Verdicts>>> {
    let verdicts = records(&context.facts.feed.verdicts());
    Ok(Json(Facts { age_ms: age(context.facts.view().at), facts: Verdicts { verdicts } }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsAsked {
    since: Option<u64>,
    #[serde(default = "least")]
    severity: Severity,
    #[serde(default = "some_events")]
    limit: usize,
}

const fn least() -> Severity {
    Severity::Info
}

const fn some_events() -> usize {
    SOME_EVENTS
}

fn asked<T>(query: std::result::Result<Query<T>, QueryRejection>, right: &str) -> Result<T> {
    match query {
        Ok(Query(asked)) => Ok(asked),
        Err(rejection) => {
            Err(Error(StatusCode::BAD_REQUEST, format!("{}; right would be {right}", rejection.body_text())))
        }
    }
}

async fn events(
    State(context): Shared,
    query: std::result::Result<Query<EventsAsked>, QueryRejection>,
) -> Result<Json<Facts<Events>>> {
    let EventsAsked { since, severity, limit } =
        asked(query, "?since=ID&severity=info|notice|warning|critical&limit=N")?;
    if !(1..=MOST_EVENTS).contains(&limit) {
        return Err(Error(StatusCode::BAD_REQUEST, format!("limit is {limit}; right would be 1 to {MOST_EVENTS}")));
    }
    let (entries, lost) = context.facts.feed.since(since, severity, limit);
    Ok(Json(Facts { age_ms: age(context.facts.view().at), facts: Events { events: records(&entries), lost } }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListenAsked {
    since: Option<u64>,
}

async fn listen(
    State(context): Shared,
    headers: HeaderMap,
    query: std::result::Result<Query<ListenAsked>, QueryRejection>,
) -> Result<Response> {
    let asked = asked(query, "?since=ID")?;
    // What an EventSource says when it comes back.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    Ok(stream::listen(context, last.or(asked.since)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistogramsAsked {
    #[serde(default)]
    since: latency::Since,
}

async fn histograms(
    State(context): Shared,
    query: std::result::Result<Query<HistogramsAsked>, QueryRejection>,
) -> Result<Json<latency::Histograms>> {
    let HistogramsAsked { since } = asked(query, "?since=start|reset")?;
    let snapshots = context.histograms.take(&context.facts.counts(), since);
    let histograms = snapshots.iter().map(latency::Document::from).collect();
    Ok(Json(latency::Histograms { age_ms: 0.0, histograms }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistogramAsked {
    #[serde(default)]
    since: latency::Since,
    #[serde(default)]
    format: latency::Format,
}

async fn histogram(
    State(context): Shared,
    Path(name): Path<String>,
    query: std::result::Result<Query<HistogramAsked>, QueryRejection>,
) -> Result<Response> {
    let HistogramAsked { since, format } = asked(query, "?since=start|reset&format=text|hgrm|hlog|csv|json|svg")?;
    let all = context.histograms.take(&context.facts.counts(), since);
    let found = latency::select(all, &name).map_err(|error| Error(StatusCode::NOT_FOUND, error.to_string()))?;
    let text = format.render(&found);
    let text = text.map_err(|error| Error(StatusCode::BAD_REQUEST, format!("{error:#}")))?;
    Ok(([(header::CONTENT_TYPE, format.content_type())], text).into_response())
}

async fn reset(State(context): Shared) -> Json<Accepted> {
    context.histograms.reset(&context.facts.counts());
    Json(Accepted { accepted: true })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TakeoverAsked {
    #[serde(default)]
    force: bool,
}

async fn takeover(
    State(context): Shared,
    Path(name): Path<String>,
    query: std::result::Result<Query<TakeoverAsked>, QueryRejection>,
) -> Result<Json<Accepted>> {
    let TakeoverAsked { force } = asked(query, "?force=true|false")?;
    order(&context, if force { OrderRequest::TakeoverForced(name) } else { OrderRequest::Takeover(name) }).await
}

async fn release(State(context): Shared, Path(name): Path<String>) -> Result<Json<Accepted>> {
    order(&context, OrderRequest::Release(name)).await
}

async fn maintenance(State(context): Shared, Path(state): Path<String>) -> Result<Json<Accepted>> {
    let on = match state.as_str() {
        "on" => true,
        "off" => false,
        _ => {
            let error = format!("maintenance is {state:?}; right would be on or off");
            return Err(Error(StatusCode::NOT_FOUND, error));
        }
    };
    order(&context, OrderRequest::Maintenance(on)).await
}

async fn order(context: &World, request: OrderRequest) -> Result<Json<Accepted>> {
    const ENDING: &str = "the agent is ending";
    let refused = |why: &str| Error(StatusCode::CONFLICT, why.to_owned());
    let (sender, receiver) = oneshot::channel();
    let answered = timeout(ORDER_PATIENCE, async {
        context.orders.send((request, sender)).await.ok()?;
        receiver.await.ok()
    });
    let answered = answered.await;
    context.cache.forget();
    match answered {
        Ok(Some(OrderReply::Accepted)) => Ok(Json(Accepted { accepted: true })),
        Ok(Some(OrderReply::Refused(why))) => Err(refused(&why)),
        Ok(Some(OrderReply::Unknown(why))) => Err(Error(StatusCode::NOT_FOUND, why)),
        Ok(None) => Err(refused(ENDING)),
        Err(_) => Err(Error(StatusCode::GATEWAY_TIMEOUT, format!("no answer within {ORDER_PATIENCE:?}"))),
    }
}
