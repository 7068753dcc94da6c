//! Asks the agent of this host, over its Unix socket.

use crate::{agent::socket_path, api::Status};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Method, Request, Response, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use nix::{
    sys::socket::{getsockopt, sockopt::PeerCredentials},
    unistd::Pid,
};
use std::{path::Path, time::Duration};
use tokio::{net::UnixStream, runtime::Runtime, time::timeout};

/// An agent that does not answer for so long is none.
const PATIENCE: Duration = Duration::from_secs(2);
/// An order may wait for the control side.
const ORDER_PATIENCE: Duration = Duration::from_secs(5);

/// The body of `GET path`.
///
/// # Errors
/// No agent answers, or it says why not.
pub fn get(runtime_dir: &Path, path: &str) -> Result<String> {
    ask(runtime_dir, Method::GET, path)
}

/// Orders `POST path`.
///
/// # Errors
/// No agent answers, or it refuses; the message says why.
pub fn post(runtime_dir: &Path, path: &str) -> Result<()> {
    ask(runtime_dir, Method::POST, path).map(drop)
}

/// The agent's status.
///
/// # Errors
/// No agent answers, or one of another version.
pub fn status(runtime_dir: &Path) -> Result<Status> {
    let text = get(runtime_dir, "/v1/status")?;
    serde_json::from_str(&text).context("the agent's status is not one that this version understands")
}

/// The agent's process: the one that listens on the socket (unix(7), SO_PEERCRED).
///
/// # Errors
/// No agent answers.
pub fn process(runtime_dir: &Path) -> Result<Pid> {
    let socket = socket_path(runtime_dir);
    let stream = std::os::unix::net::UnixStream::connect(&socket).with_context(|| nobody(&socket))?;
    Ok(Pid::from_raw(getsockopt(&stream, PeerCredentials)?.pid()))
}

/// The incarnation of the agent that answers, whatever version it is of.
///
/// # Errors
/// No agent answers, or it names none.
pub fn incarnation(runtime_dir: &Path) -> Result<String> {
    let status: serde_json::Value = serde_json::from_str(&get(runtime_dir, "/v1/status")?)?;
    Ok(status["incarnation"].as_str().context("the agent's status names no incarnation")?.to_owned())
}

/// The messages of `GET path`, a stream of server-sent events, as they come: their names and their data. It ends when the agent does.
///
/// # Errors
/// No agent answers, or it says why not.
pub fn stream(runtime_dir: &Path, path: &str) -> Result<impl Iterator<Item = Result<(String, String)>> + use<>> {
    let runtime = runtime()?;
    let response = runtime.block_on(async {
        timeout(PATIENCE, request(runtime_dir, Method::GET, path)).await.map_err(|_| silent(runtime_dir, PATIENCE))?
    })?;
    Ok(Messages { runtime, body: response.into_body(), text: Vec::new(), ended: false })
}

struct Messages {
    runtime: Runtime,
    body: Incoming,
    text: Vec<u8>,
    ended: bool,
}

impl Iterator for Messages {
    type Item = Result<(String, String)>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            if let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
                let message: Vec<u8> = self.text.drain(..end + 2).collect();
                let message = String::from_utf8_lossy(&message);
                let field = |name: &str| message.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                return Some(Ok((field("event: ").to_owned(), field("data: ").to_owned())));
            }
            match self.runtime.block_on(self.body.frame()) {
                Some(Ok(frame)) => self.text.extend(frame.data_ref().map_or(&[][..], |data| data)),
                Some(Err(error)) => {
                    self.ended = true;
                    return Some(Err(error).context("the agent's stream broke off"));
                }
                None => self.ended = true,
            }
        }
        None
    }
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?)
}

fn nobody(socket: &Path) -> String {
    format!("no agent answers at {}; is `heartbeat run` running?", socket.display())
}

fn silent(runtime_dir: &Path, patience: Duration) -> anyhow::Error {
    anyhow::anyhow!("the agent at {} does not answer within {patience:?}", socket_path(runtime_dir).display())
}

fn ask(runtime_dir: &Path, method: Method, path: &str) -> Result<String> {
    let patience = if method == Method::POST { ORDER_PATIENCE } else { PATIENCE };
    runtime()?.block_on(async {
        let asked = async {
            let body = request(runtime_dir, method, path).await?.into_body().collect().await?;
            Ok(String::from_utf8(body.to_bytes().to_vec())?)
        };
        timeout(patience, asked).await.map_err(|_| silent(runtime_dir, patience))?
    })
}

/// A successful answer.
async fn request(runtime_dir: &Path, method: Method, path: &str) -> Result<Response<Incoming>> {
    let socket = socket_path(runtime_dir);
    let stream = UnixStream::connect(&socket).await.with_context(|| nobody(&socket))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", "localhost").body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await.context("the agent broke off")?;
    if !response.status().is_success() {
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        let error = serde_json::from_slice::<serde_json::Value>(&body).ok();
        match error.as_ref().and_then(|error| error["error"].as_str()) {
            Some(error) => bail!("{error}"),
            None => bail!("{path}: {status}"),
        }
    }
    Ok(response)
}
