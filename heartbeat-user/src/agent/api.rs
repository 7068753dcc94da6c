//! Where the API is served: what the configuration asks for, as far as it is to be had.

use super::{Options, runtime_dir::RuntimeDir};
use crate::{
    api::server::Listeners,
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
};

/// Of the socket's file.
const MODE: u32 = 0o660;
/// Connections that wait to be taken.
const BACKLOG: i32 = 128;

/// The sockets. Guarding goes on without what concerns only who may ask: that is logged.
pub(super) fn listeners(options: &Options, folder: &RuntimeDir) -> Result<Listeners> {
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
