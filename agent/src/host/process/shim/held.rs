//! The listening sockets that outlive every process of the app.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt},
        net::UnixListener,
    },
    path::Path,
};

use rustix::fs::{Mode, OFlags};

/// Room for connections that wait while the app is replaced; the kernel cuts it to net.core.somaxconn.
const BACKLOG: i32 = 4096;

#[derive(Default)]
pub struct Held(BTreeMap<String, OwnedFd>);

impl Held {
    /// Binds what of `wanted` is not bound yet. On an error everything is as it was.
    pub fn add(&mut self, wanted: &[String]) -> io::Result<()> {
        let mut new = BTreeMap::new();
        for address in wanted.iter().filter(|address| !self.0.contains_key(*address)) {
            let socket = bind(address)
                .map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}")))?;
            new.insert(address.clone(), socket);
        }
        self.0.append(&mut new);
        Ok(())
    }

    /// Closes what is not among `wanted`.
    pub fn keep_only(&mut self, wanted: &[String]) {
        self.0.retain(|address, _| wanted.contains(address));
    }

    /// Just these, and no other.
    pub fn is(&self, wanted: &[String]) -> bool {
        self.0.len() == wanted.len() && wanted.iter().all(|address| self.0.contains_key(address))
    }

    /// In the order of `wanted`, all of which were added.
    pub fn in_order(&self, wanted: &[String]) -> Vec<BorrowedFd<'_>> {
        wanted.iter().map(|address| self.0.get(address).expect("added before").as_fd()).collect()
    }
}

fn bind(address: &str) -> io::Result<OwnedFd> {
    let socket: OwnedFd = if address.starts_with('/') {
        bind_path(Path::new(address))?.into()
    } else {
        let address: SocketAddr = address.parse().map_err(io::Error::other)?;
        TcpListener::bind(address)?.into()
    };
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// A socket file that nobody listens on is of a process that is gone; any other file, of which the kernel says the same,
/// stays. Open to all, as systemd's are.
fn bind_path(path: &Path) -> io::Result<UnixListener> {
    let stale = |e: &io::Error| e.kind() == io::ErrorKind::ConnectionRefused;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err_and(|e| stale(&e)) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    open_to_all(path)?;
    Ok(listener)
}

/// The folder may be the app's: what is opened is a socket, and nothing that a link has put in its place.
fn open_to_all(path: &Path) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let through = format!("/proc/self/fd/{}", file.as_raw_fd());
    if !std::fs::metadata(&through)?.file_type().is_socket() {
        return Err(io::Error::other("somebody has put something else in the place of the socket"));
    }
    std::fs::set_permissions(through, std::fs::Permissions::from_mode(0o666))
}

#[cfg(test)]
mod tests {
    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind as bind_to, socket_with, sockopt,
    };

    use super::*;

    /// Bound, and never listened on: a child that another test forks meanwhile holds a copy until it becomes its program,
    /// and a copy of one that listens would go on listening.
    fn quiet(family: AddressFamily, address: &impl rustix::net::addr::SocketAddrArg) -> OwnedFd {
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        sockopt::set_socket_reuseaddr(&socket, true).unwrap();
        bind_to(&socket, address).unwrap();
        socket
    }

    #[test]
    fn a_socket_in_use_changes_nothing() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let reserved = quiet(AddressFamily::INET, &SocketAddr::from(([127, 0, 0, 1], 0)));
        let free = SocketAddr::try_from(rustix::net::getsockname(&reserved).unwrap()).unwrap().to_string();
        let taken = taken.local_addr().unwrap().to_string();
        let mut held = Held::default();
        let error = held.add(&[free.clone(), taken.clone()]).unwrap_err();
        assert!(error.to_string().contains(&taken), "{error}");
        assert!(held.0.is_empty());
        held.add(std::slice::from_ref(&free)).unwrap();
        assert_eq!(held.in_order(&[free]).len(), 1);
    }

    #[test]
    fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        drop(quiet(AddressFamily::UNIX, &SocketAddrUnix::new(&path).unwrap()));
        let live = bind_path(&path).unwrap();
        assert_eq!(bind_path(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        drop(live);
    }

    /// The kernel says of every file that nobody listens on it.
    #[test]
    fn a_file_that_is_no_socket_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("passwd"), folder.path().join("app.sock"));
        longshore_common::durable::write_atomic(&file, b"root", 0o600).unwrap();
        std::os::unix::fs::symlink("passwd", &link).unwrap();
        for path in [&file, &link] {
            assert_eq!(bind_path(path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            assert!(open_to_all(path).is_err(), "{}", path.display());
        }
        assert_eq!(std::fs::read(&file).unwrap(), b"root");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(link.is_symlink());
    }
}
