//! One question over HTTP: JSON out, JSON back.
//!
//! Each has a connection of its own: an answer that comes twice, or late, cannot be taken for that to another question. Redirects
//! are not followed: an arbiter is who the configuration says, nobody whom it names.

use crate::config::Endpoint;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1,
    header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, LOCATION},
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

/// The most that an answer may have, in bytes: 64 groups have some 20 KiB.
const MAX_BODY: usize = 256 * 1024;
/// The most that its head may have, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// What an endpoint answered that is not what was asked for.
#[derive(Debug)]
pub(super) struct Failure {
    /// The status, where it answered.
    pub(super) status: Option<StatusCode>,
    /// What, in words.
    pub(super) what: String,
}

impl Failure {
    pub(super) fn of(what: impl Into<String>) -> Self {
        Self { status: None, what: what.into() }
    }
}

/// What `POST path` with `body` is answered, by status 200. Waits without limit: callers bound it.
///
/// # Errors
/// No connection, no TLS, another status, too much of an answer, or one that is not JSON.
pub(super) async fn post(
    endpoint: &Endpoint,
    tls: Option<&TlsConnector>,
    path: &str,
    body: &Value,
    token: Option<&str>,
) -> Result<Value, Failure> {
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port));
    let stream = stream.await.map_err(|error| Failure::of(format!("no connection: {error}")))?;
    let request = request(endpoint, path, body, token).map_err(|error| Failure::of(error.to_string()))?;
    match tls.filter(|_| endpoint.tls) {
        None if endpoint.tls => Err(Failure::of("there is nothing to check its certificate with")),
        None => exchange(stream, request).await,
        Some(tls) => {
            let name = ServerName::try_from(endpoint.host.clone()).map_err(|error| Failure::of(error.to_string()))?;
            let stream = tls.connect(name, stream).await;
            exchange(stream.map_err(|error| Failure::of(format!("no TLS: {error}")))?, request).await
        }
    }
}

fn request(
    endpoint: &Endpoint,
    path: &str,
    body: &Value,
    token: Option<&str>,
) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let host = match endpoint.host.contains(':') {
        true => format!("[{}]:{}", endpoint.host, endpoint.port),
        false => format!("{}:{}", endpoint.host, endpoint.port),
    };
    let request = Request::post(path).header(HOST, host).header(CONTENT_TYPE, "application/json");
    let request = request.header(CONNECTION, "close");
    let request = match token {
        Some(token) => request.header(AUTHORIZATION, token),
        None => request,
    };
    request.body(Full::from(body.to_string()))
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Value, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: &hyper::Error| Failure::of(format!("not HTTP, or it broke off: {}", causes(error)));
    let client = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = client.map_err(|error| broken(&error))?;
    // Dropped with this future, whatever the other end does.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
    answer(response).await
}

async fn answer(response: Response<Incoming>) -> Result<Value, Failure> {
    let status = response.status();
    let fail = |what: String| Failure { status: Some(status), what };
    if status.is_redirection() {
        let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("elsewhere");
        return Err(fail(format!("sends us to {} ({status}), which is not followed", shown(to))));
    }
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
    let body = body.map_err(|error| fail(format!("no whole answer of at most {} KiB: {error}", MAX_BODY / 1024)))?;
    let body = body.to_bytes();
    let value = serde_json::from_slice::<Value>(&body);
    if status != StatusCode::OK {
        let said = value.as_ref().ok().and_then(|value| value["message"].as_str().or(value["error"].as_str()));
        return Err(fail(format!("{status}: {}", shown(said.unwrap_or(&String::from_utf8_lossy(&body))))));
    }
    value.map_err(|error| fail(format!("not JSON ({error}): {}", shown(&String::from_utf8_lossy(&body)))))
}

/// An error with what caused it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The beginning of what somebody said, with nothing in it that a terminal would act upon.
pub(super) fn shown(text: &str) -> String {
    text.trim().chars().take(120).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
