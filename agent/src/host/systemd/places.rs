//! Where sockets are to be. systemd takes away what stands there, as root and whatever it is: a socket that was left behind
//! may go, and nothing else.

use std::{fs, os::unix::fs::FileTypeExt as _};

use longshore_common::{
    code::Code,
    report::{Failure, StepName},
    text::visible,
};

use crate::host::fault;

/// `sockets`: addresses, and paths, as the manifest has them.
pub fn check(sockets: &[String]) -> Result<(), Failure> {
    let taken = |path: &&String| {
        fs::symlink_metadata(path.as_str()).is_ok_and(|there| !there.file_type().is_socket())
    };
    match sockets.iter().filter(|address| address.starts_with('/')).find(taken) {
        None => Ok(()),
        Some(path) => {
            let words = format!(
                "service.sockets: {} is there and no socket, and would be taken away: name another path, or move it",
                visible(path)
            );
            Err(fault::host(Code::V01, StepName::Start, words))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::{fs::symlink, net::UnixListener};

    use longshore_common::durable::write_atomic;

    use super::*;

    #[test]
    fn a_socket_takes_the_place_of_a_socket_and_of_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        drop(UnixListener::bind(at("left.sock")).unwrap());
        write_atomic(folder.path().join("passwd").as_path(), b"root", 0o600).unwrap();
        symlink("left.sock", at("link")).unwrap();
        check(&["127.0.0.1:80".to_owned(), at("left.sock"), at("new.sock")]).unwrap();
        for other in ["passwd", "link"] {
            let failure = check(&[at("new.sock"), at(other)]).unwrap_err();
            assert!(
                failure.message.contains(&format!("{other} is there and no socket")),
                "{}",
                failure.message
            );
        }
        assert!(check(&[folder.path().display().to_string()]).is_err(), "nor of a folder");
    }
}
