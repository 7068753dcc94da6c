//! The control socket: an operator's orders, one JSON line each, answered by one.

use crate::core::Refusal;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream as Blocking,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    sync::{mpsc, oneshot},
    time::timeout,
};

/// An order is no longer than this, in bytes.
const LONGEST: u64 = 4096;
/// Whoever orders something gets this long to say what, and as long to hear the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What can be ordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Hold the group here.
    Takeover(String),
    /// Have the peer hold it.
    Release(String),
    /// Let nothing move, or no longer so.
    Maintenance(bool),
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is being carried out.
    Accepted,
    /// It is not.
    Refused(String),
}

impl From<Result<(), Refusal>> for Answer {
    fn from(result: Result<(), Refusal>) -> Self {
        match result {
            Ok(()) => Self::Accepted,
            Err(refusal) => Self::Refused(refusal.to_string()),
        }
    }
}

/// An order that somebody waits for.
pub(super) type Ordered = (Request, oneshot::Sender<Answer>);

/// Where orders are taken, below the runtime directory.
#[must_use]
pub fn control_path(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("control.sock")
}

/// One order of one operator.
pub(super) async fn serve(mut stream: UnixStream, orders: mpsc::Sender<Ordered>) {
    let _ = timeout(PATIENCE * 2, async {
        let answer = match timeout(PATIENCE, read(&mut stream)).await {
            Ok(Ok(request)) => {
                let (sender, receiver) = oneshot::channel();
                match orders.send((request, sender)).await {
                    Ok(()) => receiver.await.unwrap_or_else(|_| Answer::Refused("the agent is ending".into())),
                    Err(_) => Answer::Refused("the agent is ending".into()),
                }
            }
            Ok(Err(why)) => Answer::Refused(why),
            Err(_) => Answer::Refused(format!("no order came within {PATIENCE:?}")),
        };
        let line = serde_json::to_string(&answer).unwrap_or_default() + "\n";
        stream.write_all(line.as_bytes()).await
    })
    .await;
}

async fn read(stream: &mut UnixStream) -> Result<Request, String> {
    const RIGHT: &str = r#"right would be {"takeover": "GROUP"}, {"release": "GROUP"} or {"maintenance": true}"#;
    let mut line = String::new();
    let mut reader = tokio::io::BufReader::new(stream).take(LONGEST);
    reader.read_line(&mut line).await.map_err(|error| format!("not a line of text: {error}"))?;
    serde_json::from_str(&line).map_err(|error| format!("not an order: {error}; {RIGHT}"))
}

/// Orders something from the agent of this runtime directory.
///
/// # Errors
/// There is no agent, or it refuses; the message says why.
pub fn order(runtime_dir: &Path, request: &Request) -> Result<()> {
    let path = control_path(runtime_dir);
    let mut stream = Blocking::connect(&path)
        .with_context(|| format!("no agent takes orders at {}; is `heartbeat run` running?", path.display()))?;
    stream.set_read_timeout(Some(PATIENCE * 2))?;
    writeln!(stream, "{}", serde_json::to_string(request)?)?;
    let mut line = String::new();
    BufReader::new(stream)
        .read_line(&mut line)
        .with_context(|| format!("the agent at {} does not answer", path.display()))?;
    match serde_json::from_str(&line).with_context(|| format!("{}: not an answer: {line:?}", path.display()))? {
        Answer::Accepted => Ok(()),
        Answer::Refused(why) => bail!("{why}"),
    }
}
