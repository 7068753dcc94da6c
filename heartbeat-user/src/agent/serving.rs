//! The API, as this agent serves it: where the configuration asks for that, as far as it is to be had.

use super::{desk::Desk, options::RunOptions, runtime_dir::RuntimeDir};
use crate::{
    api::server::{Listeners, Ordered, Server},
    command::signals,
    config::{Api, read_token},
};
use anyhow::{Context, Result, bail};
use nix::{
    sys::stat::{Mode, fchmod},
    unistd::{Group, chown},
};
use socket2::{Domain, SockAddr, Socket, Type};
use std::{
    fs::{self, Permissions},
    io::{self, ErrorKind},
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::{fs::PermissionsExt as _, net::UnixListener},
    },
    path::Path,
    sync::Arc,
};
use tokio::sync::mpsc;

/// Of the socket's file.
const MODE: u32 = 0o660;
/// Connections that wait to be taken.
const BACKLOG: i32 = 128;

/// The server, where it runs.
pub(super) struct Serving {
    server: Option<Server>,
    /// Where it leaves orders.
    ordered: mpsc::Sender<Ordered>,
}

impl Serving {
    /// Not yet.
    pub(super) const fn new(ordered: mpsc::Sender<Ordered>) -> Self {
        Self { server: None, ordered }
    }

    /// Begins.
    ///
    /// # Errors
    /// The socket in the runtime directory is not to be had, or the system has no thread for us.
    pub(super) fn begin(&mut self, desk: &Desk<'_>, folder: &RuntimeDir) -> Result<()> {
        let listeners = listeners(desk.options, folder)?;
        self.server = Some(Server::start(Arc::clone(&desk.facts), listeners, self.ordered.clone())?);
        Ok(())
    }

    /// The same, after somebody has taken the socket away.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub(super) fn begin_again(&mut self, desk: &Desk<'_>, folder: &RuntimeDir) -> Result<()> {
        // The one before ends first: what it listens on beside the socket is to be had once.
        self.server = None;
        signals::hold();
        let served = self.begin(desk, folder);
        signals::take();
        served
    }

    /// Ends, and takes the socket away.
    pub(super) fn end(self, folder: &RuntimeDir) {
        drop(self);
        folder.forget_socket();
    }
}

/// The sockets. Guarding goes on without what concerns only who may ask: that is logged.
fn listeners(options: &RunOptions, folder: &RuntimeDir) -> Result<Listeners> {
    let Api { group, http, token_file } = &options.config.api;
    let path = folder.socket();
    // Ours by the lock: an earlier life's.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("{}: cannot be removed", path.display()));
        }
        _ => {}
    }
    let unix = bind(&path).with_context(|| format!("{}: cannot listen", path.display()))?;
    if let Some(group) = group
        && let Err(error) = give(&path, group)
    {
        log::error!("api.group: {error:#}; the socket stays the agent's own group's");
    }
    let tcp = http.as_ref().and_then(|http| {
        TcpListener::bind(http).map_err(|error| log::error!("api.http: {http}: {error}; HTTP is not served")).ok()
    });
    let token = token_file.as_ref().and_then(|file| {
        let shown = file.display();
        let wrong = |why| log::error!("api.token_file = {shown}: {why}; there are no orders over HTTP");
        read_token(file).map_err(wrong).ok()
    });
    Ok(Listeners { unix, tcp, token })
}

/// With the right mode from the start: that of the socket's file is the socket's own, less what umask says.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    fchmod(&socket, Mode::from_bits_truncate(MODE))?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))?;
    socket.listen(BACKLOG)?;
    Ok(OwnedFd::from(socket).into())
}

fn give(path: &Path, group: &str) -> Result<()> {
    let Some(found) = Group::from_name(group)? else {
        bail!("this host has no group \"{group}\"; right would be one of /etc/group")
    };
    Ok(chown(path, None, Some(found.gid))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::{fs::MetadataExt as _, net::UnixStream};

    #[test]
    fn the_socket_is_its_groups_and_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let listener = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        UnixStream::connect(&path).unwrap();
        listener.accept().unwrap();
    }
}
