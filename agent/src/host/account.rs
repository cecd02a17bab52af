//! The user that an app or hook runs as.
//!
//! Read from `/etc/passwd` and `/etc/group` directly, as a static binary has no name service; users that only a
//! directory service knows are asked of `getent`.

use std::{fs, path::PathBuf, process::Command};

use longshore_common::{
    code::{Code, Coded},
    text::visible,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: PathBuf,
    /// Every group, the primary one included.
    pub groups: Vec<u32>,
}

impl Account {
    /// The account that `user` names, which this process is able to become; None when it is this process's own.
    pub fn to_become(user: Option<&str>) -> Result<Option<Self>, Coded> {
        let Some(user) = user else { return Ok(None) };
        let account = Self::look_up(user)?;
        let own = rustix::process::geteuid();
        if account.uid == own.as_raw() {
            return Ok(None);
        }
        if !own.is_root() {
            return Err(Coded::new(
                Code::U01,
                format!(
                    "the app wants user \"{}\", and the agent, running as uid {}, may not become another user; \
                     leave out `service.user` or run the agent as root",
                    account.name,
                    own.as_raw()
                ),
            ));
        }
        Ok(Some(account))
    }

    /// Whether it is root's name, or another by which this machine knows root.
    pub fn is_root(user: &str) -> bool {
        user == "root" || has_uid_0(&read("/etc/passwd"), user)
    }

    /// The one that the agent runs as, beside its helper.
    pub fn of_agent(user: &str) -> Result<Self, Coded> {
        Self::look_up(user).map_err(|_| {
            let user = visible(user);
            let message = format!(
                "this host has no user \"{user}\" for the agent to run as. Make it: useradd --system --user-group \
                 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin {user}; or name another: --user NAME"
            );
            Coded::new(Code::N01, message)
        })
    }

    pub fn look_up(user: &str) -> Result<Self, Coded> {
        let passwd = read("/etc/passwd");
        let line = passwd_line(&passwd, user).map(str::to_owned).or_else(|| getent(user));
        let group = read("/etc/group");
        line.and_then(|line| parse(&line, &group)).ok_or_else(|| {
            Coded::new(
                Code::U01,
                format!("this host has no user \"{}\"; create it or change `service.user`", visible(user)),
            )
        })
    }
}

/// A missing file has no users.
fn read(path: &str) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// By name, or by number where no user has that name.
fn passwd_line<'a>(passwd: &'a str, user: &str) -> Option<&'a str> {
    let field = |line: &'a str, n: usize| line.split(':').nth(n);
    passwd
        .lines()
        .find(|line| field(line, 0) == Some(user))
        .or_else(|| passwd.lines().find(|line| field(line, 2) == Some(user)))
}

fn has_uid_0(passwd: &str, user: &str) -> bool {
    passwd_line(passwd, user).and_then(|line| line.split(':').nth(2)) == Some("0")
}

fn getent(user: &str) -> Option<String> {
    let output = Command::new("getent").args(["passwd", "--", user]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.lines().next().map(str::to_owned))?
}

fn parse(line: &str, group: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let home = fields.nth(1)?.into();
    let groups = std::iter::once(gid).chain(groups_of(&name, group)).collect();
    Some(Account { name, uid, gid, home, groups })
}

fn groups_of(name: &str, group: &str) -> Vec<u32> {
    let member = |line: &&str| line.split(':').nth(3).is_some_and(|m| m.split(',').any(|m| m == name));
    group.lines().filter(member).filter_map(|line| line.split(':').nth(2)?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nshop:x:1001:1002:,,,:/srv/shop:/bin/false\n";
    const GROUP: &str = "root:x:0:\nshop:x:1002:\nssl-cert:x:110:postgres,shop\ntape:x:26:shop2\n";

    #[test]
    fn accounts_carry_their_supplementary_groups() {
        let line = passwd_line(PASSWD, "shop").unwrap();
        let shop = parse(line, GROUP).unwrap();
        assert_eq!((shop.uid, shop.gid, shop.groups), (1001, 1002, vec![1002, 110]));
        assert_eq!(shop.home, PathBuf::from("/srv/shop"));
        assert_eq!(passwd_line(PASSWD, "1001"), Some(line), "a number names a user as well");
    }

    /// Some machines have a second name for root.
    #[test]
    fn root_is_known_by_all_its_names() {
        let passwd = format!("{PASSWD}toor:x:0:0:::/bin/sh\n");
        let roots =
            ["root", "toor", "0", "shop", "1001", "nobody-here", ""].map(|user| has_uid_0(&passwd, user));
        assert_eq!(roots, [true, true, true, false, false, false, false]);
        assert!(Account::is_root("root") && !Account::is_root(""));
    }

    #[test]
    fn an_unknown_user_is_named_in_the_error() {
        let error = Account::look_up("no-such-user\u{1b}").unwrap_err();
        assert!(error.message.contains("no-such-user\\x1b"), "{error}");
        let agent = Account::of_agent("no-such-user").unwrap_err();
        assert!(agent.message.contains("useradd") && agent.message.contains("--user NAME"), "{agent}");
    }

    #[test]
    fn its_own_user_needs_no_change() {
        let own = rustix::process::geteuid().as_raw().to_string();
        assert_eq!(Account::to_become(Some(&own)).unwrap(), None);
        assert_eq!(Account::to_become(None).unwrap(), None);
    }
}
