//! The API: HTTP over a Unix socket, and over TCP where configured, in a thread of its own that the others never wait for.
//!
//! Whoever connects gets a limited time for a request and a limited time to read the answer; there is a limit to how many can be
//! connected at a time, and those of TCP do not take the places of the Unix socket's.

mod answers;
mod cache;
mod openapi;
mod orders;
mod page;
mod routes;
mod stream;
mod world;

pub use answers::{Events, Facts};
pub use orders::{OrderReply, Ordered, Request};

use super::Shown;
use anyhow::{Context, Result};
use axum::{Router, body::Body};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use std::{net::TcpListener, os::unix::net::UnixListener, sync::Arc, thread::JoinHandle, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, mpsc, oneshot},
};
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt as _;
use world::{Origin, World};

/// Connections at a time over the Unix socket, and over TCP; more are turned away.
const MOST: [usize; 2] = [256, 768];
/// A request's head must be there within this time, also on a connection that is used again.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// Who does not read for so long is not waited for.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// The longest head of a request, in bytes.
const LONGEST_HEAD: usize = 16 * 1024;
/// What the kernel keeps for one who does not read, in bytes: of itself it would keep megabytes.
const SEND_BUFFER: usize = 64 * 1024;
/// After a failed `accept`, as where the process has no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Where requests are taken.
pub struct Listeners {
    /// Readable by its group; orders from root alone.
    pub unix: UnixListener,
    /// Without encryption: for loopback.
    pub tcp: Option<TcpListener>,
    /// What an order over TCP must bring; without one, there are none.
    pub token: Option<String>,
}

/// A running API; it ends when this is dropped.
pub struct Server {
    /// Dropped first.
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts it.
    ///
    /// # Errors
    /// The listeners, or a thread, cannot be used.
    pub fn start(facts: Arc<Shown>, listeners: Listeners, orders: mpsc::Sender<Ordered>) -> Result<Self> {
        let Listeners { unix, tcp, token } = listeners;
        unix.set_nonblocking(true).context("the API's Unix socket")?;
        if let Some(tcp) = &tcp {
            tcp.set_nonblocking(true).context("the API's TCP socket")?;
        }
        let context = Arc::new(World::new(facts, token, orders));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("api".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = ended => {}
                    served = serve(context, unix, tcp) => if let Err(error) = served {
                        log::error!("the API cannot be served: {error:#}");
                    }
                }
            });
            // Connections end with it, whatever they are at.
            runtime.shutdown_background();
        })?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(context: Arc<World>, unix: UnixListener, tcp: Option<TcpListener>) -> Result<()> {
    let router = routes::router(Arc::clone(&context));
    let unix = tokio::net::UnixListener::from_std(unix)?;
    let tcp = tcp.map(tokio::net::TcpListener::from_std).transpose()?;
    let by_unix = async {
        let places = Arc::new(Semaphore::new(MOST[0]));
        loop {
            match unix.accept().await {
                Ok((stream, _)) => {
                    let root = stream.peer_cred().is_ok_and(|peer| peer.uid() == 0);
                    connect(stream, Origin::Unix { root }, &router, &places);
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    let by_tcp = async {
        let Some(tcp) = tcp else { return std::future::pending().await };
        let places = Arc::new(Semaphore::new(MOST[1]));
        loop {
            match tcp.accept().await {
                Ok((stream, _)) => {
                    // Where that cannot be had, the kernel's own limit holds.
                    let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
                    connect(stream, Origin::Tcp, &router, &places);
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    tokio::join!(by_unix, by_tcp, stream::tell_status(&context));
    Ok(())
}

fn connect<S>(stream: S, origin: Origin, router: &Router, places: &Arc<Semaphore>)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let Ok(place) = Arc::clone(places).try_acquire_owned() else { return };
    let router = router.clone();
    tokio::spawn(async move {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(WRITE_PATIENCE));
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(origin);
            router.clone().oneshot(request.map(Body::new))
        });
        // A client that breaks off or breaks the protocol is its own affair.
        let _ = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_PATIENCE)
            .max_buf_size(LONGEST_HEAD)
            .serve_connection(TokioIo::new(Box::pin(stream)), service)
            .await;
        drop(place);
    });
}
