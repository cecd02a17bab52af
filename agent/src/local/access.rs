//! Who is at the other end of the socket, and what they may.

use longshore_common::{
    code::{Code, Coded},
    wire::to_status,
};
use tonic::{Request, Status, transport::server::UdsConnectInfo};

/// Who may look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readers {
    /// Root and the agent's own user.
    #[default]
    Owner,
    Everyone,
}

/// Somebody who may do what they asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Admin {
    /// `ann`, or `uid 1001` where the host has no name for them.
    pub(super) name: String,
}

pub(super) fn may_read<T>(request: &Request<T>, readers: Readers) -> Result<(), Status> {
    match readers {
        Readers::Everyone => Ok(()),
        Readers::Owner => may_change(request).map(drop),
    }
}

pub(super) fn may_change<T>(request: &Request<T>) -> Result<Admin, Status> {
    let peer = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
    decide(peer.map(|peer| peer.uid()), rustix::process::geteuid().as_raw()).map_err(|refused| {
        tracing::warn!("refused at the local socket: {refused}");
        to_status(&refused)
    })
}

fn decide(uid: Option<u32>, own: u32) -> Result<Admin, Coded> {
    match uid {
        Some(uid) if uid == 0 || uid == own => Ok(Admin { name: user_name(uid) }),
        Some(uid) => {
            let who = user_name(uid);
            let may =
                if own == 0 { "root may".to_owned() } else { format!("root and {} may", user_name(own)) };
            let message = format!("{who} may not do this here: {may}. Nothing was changed. Try with sudo");
            Err(Coded::new(Code::C02, message))
        }
        None => Err(Coded::new(Code::C02, "the kernel does not say who you are. Nothing was changed")),
    }
}

fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("uid {uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_agents_user_may_change_things() {
        assert_eq!(decide(Some(0), 990).unwrap().name, "root");
        assert!(decide(Some(990), 990).is_ok());
        assert_eq!(decide(None, 0).unwrap_err().code, Code::C02);
        for (own, says) in
            [(0, "uid 4000000 may not do this here: root may."), (990_990, "root and uid 990990 may.")]
        {
            let refusal = decide(Some(4_000_000), own).unwrap_err();
            assert!(refusal.code == Code::C02 && refusal.message.contains(says), "{refusal}");
        }
    }

    /// A call of which the kernel says nothing, as one over the network would be.
    #[test]
    fn whoever_may_look_is_root_or_everybody_as_the_host_says() {
        let call = Request::new(());
        assert!(may_read(&call, Readers::Everyone).is_ok());
        assert_eq!(may_read(&call, Readers::Owner).unwrap_err().code(), tonic::Code::PermissionDenied);
    }
}
