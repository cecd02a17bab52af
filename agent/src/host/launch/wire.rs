//! The order to a trampoline: a length, JSON, and the sockets as ancillary data of the length.

use std::{
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::net::UnixStream,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::LaunchSpec;
use crate::host::sys::PASSED_MAX;

/// Larger than the largest manifest with its environment.
const ORDER_BYTES: usize = 1 << 20;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub spec: LaunchSpec,
    /// Of the sockets that come with it, in order.
    pub names: Vec<String>,
    /// The child dies with it.
    pub parent: u32,
}

pub(super) fn send(mut to: &UnixStream, order: &Order, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let body = serde_json::to_vec(order)?;
    let length = (body.len() as u32).to_be_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other(format!("at most {PASSED_MAX} sockets can be passed")));
    }
    let sent = sendmsg(to.as_fd(), &[IoSlice::new(&length)], &mut control, SendFlags::NOSIGNAL)?;
    to.write_all(&length[sent..])?;
    to.write_all(&body)
}

pub(super) fn receive(mut from: &UnixStream) -> io::Result<(Order, Vec<OwnedFd>)> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got =
        recvmsg(from.as_fd(), &mut [IoSliceMut::new(&mut length)], &mut control, RecvFlags::CMSG_CLOEXEC)?
            .bytes;
    let fds = control
        .drain()
        .flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
            _ => vec![],
        })
        .collect();
    from.read_exact(&mut length[got..])?;
    let length = u32::from_be_bytes(length) as usize;
    if length > ORDER_BYTES {
        return Err(io::Error::other(format!("an order of {length} bytes")));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok((serde_json::from_slice(&body)?, fds))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs::File};

    use super::*;

    #[test]
    fn sockets_travel_with_the_order() {
        let (here, there) = UnixStream::pair().unwrap();
        let spec = LaunchSpec {
            program: "/bin/true".into(),
            args: vec!["x".repeat(100_000)],
            env: BTreeMap::new(),
            cwd: "/".into(),
            account: None,
        };
        let order = Order { spec: spec.clone(), names: vec!["a".into(), "b".into()], parent: 1 };
        let file = File::open("/dev/null").unwrap();
        send(&here, &order, &[file.as_fd(), file.as_fd()]).unwrap();
        let (got, fds) = receive(&there).unwrap();
        assert_eq!((got.spec, got.names.len(), fds.len()), (spec, 2, 2));
    }
}
