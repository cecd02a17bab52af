//! What an act consists of beside the names that it touches. The audit log has it, and two people agree to it: what is not
//! in these words could be another thing when it is done than when it was confirmed.

use std::collections::BTreeMap;

use longshore_common::{
    digest::{SealedDigest, hex, sha256},
    ids::EnvName,
    time::Span,
};
use longshore_proto::v1 as pb;

/// Names of a list that are told; of a longer one its digest as well.
const NAMED: usize = 20;

/// `production.toml (sha256 9c1e5a5f…)`, as `sha256sum` says.
pub(super) fn file(name: &str, text: &str) -> String {
    format!("{name} ({})", content(text.as_bytes()))
}

/// `sha256 9c1e5a5f…`, all of it: whoever writes both can make two files whose digests begin alike, have the
/// one agreed to, and do the other.
pub(super) fn content(bytes: &[u8]) -> String {
    format!("sha256 {}", hex(&sha256(bytes)))
}

/// `a join token, 3 uses, 1h, env=prod role=web, named web-*, from 10.0.0.0/8, each asks`
pub(super) fn token(request: &pb::CreateTokenRequest) -> String {
    let pb::CreateTokenRequest { uses, ttl_ms, labels, name, networks, ask } = request;
    let mut parts = vec!["a join token".to_owned()];
    parts.extend((*uses > 1).then(|| format!("{uses} uses")));
    parts.extend((*ttl_ms > 0).then(|| length(*ttl_ms)));
    parts.extend((!labels.is_empty()).then(|| pairs(labels)));
    parts.extend((!name.is_empty()).then(|| format!("named {name}")));
    parts.extend((!networks.is_empty()).then(|| format!("from {}", list(networks, " "))));
    parts.extend(ask.then(|| "each asks".to_owned()));
    parts.join(", ")
}

/// `drain host web-1, apps stop within 30s`
pub(super) fn drain(request: &pb::DrainHostRequest) -> String {
    let pb::DrainHostRequest { host, undrain, reason: _, stop_within_ms } = request;
    if *undrain {
        return format!("undrain host {host}");
    }
    let stops = stop_within_ms.map(|ms| format!(", apps stop within {}", length(ms))).unwrap_or_default();
    format!("drain host {host}{stops}")
}

/// `freeze production, from 2026-12-24 12:00, until 2026-12-27 06:00, not even back`
pub(super) fn freeze(request: &pb::FreezeRequest) -> String {
    let pb::FreezeRequest { env, reason: _, from, until, no_rollback } = request;
    let mut parts = vec![format!("freeze {env}")];
    parts.extend((!from.is_empty()).then(|| format!("from {from}")));
    parts.extend((!until.is_empty()).then(|| format!("until {until}")));
    parts.extend(no_rollback.then(|| "not even back".to_owned()));
    parts.join(", ")
}

/// `operator bob: deployer, approver:@prod, for 7d`
pub(super) fn user(request: &pb::AddUserRequest) -> String {
    let pb::AddUserRequest { name, grants, csr_der: _, ttl_ms } = request; // the key is another at each try
    let ttl = if *ttl_ms > 0 { format!(", for {}", length(*ttl_ms)) } else { String::new() };
    format!("operator {name}: {}{ttl}", grants.join(", "))
}

/// `environment production: seal secret db_password, 6b86b273…, for web-1, web-2`. The digest is what
/// the environment's file will say. It comes before the hosts, of which there may be more than the log has
/// room for. What was sealed is in none of it.
pub(super) fn seal(env: Option<&EnvName>, name: &str, digest: &SealedDigest, names: &[String]) -> String {
    let mut names = names.to_vec();
    names.sort();
    let hosts = list(&names, ", ");
    match env {
        Some(env) => format!("environment {env}: seal secret {name}, {}, for {hosts}", digest.hex()),
        None => format!("host {hosts}: seal secret {name}, {}", digest.hex()),
    }
}

/// ` web-1, web-2`; nothing of nothing.
pub(super) fn hosts(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" {} in", list(names, ", ")) }
}

/// ` (wave 50%, bake 10s)`
pub(super) fn pace(pace: &pb::Pace) -> String {
    let pb::Pace { wave, max_unavailable, bake_ms, hold_ms } = pace;
    let said = [
        wave.as_ref().map(|wave| format!("wave {wave}")),
        max_unavailable.as_ref().map(|share| format!("max_unavailable {share}")),
        bake_ms.map(|ms| format!("bake {}", length(ms))),
        hold_ms.map(|ms| format!("hold {}", length(ms))),
    ];
    let said: Vec<String> = said.into_iter().flatten().collect();
    if said.is_empty() { String::new() } else { format!(" ({})", said.join(", ")) }
}

fn pairs(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    list(&pairs, " ")
}

/// All of it, or the first and what the whole is.
fn list(names: &[String], between: &str) -> String {
    if names.len() <= NAMED {
        return names.join(between);
    }
    let whole = content(names.join("\0").as_bytes());
    format!("{}{between}and {} more ({whole})", names[..NAMED].join(between), names.len() - NAMED)
}

fn length(ms: u64) -> String {
    Span::millis(ms).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What differs in the request differs in the words: two people agree to what is done, and to nothing else.
    #[test]
    fn whatever_is_asked_for_is_in_the_words() {
        let plain = pb::CreateTokenRequest::default();
        assert_eq!(token(&plain), "a join token");
        let wide = pb::CreateTokenRequest {
            uses: 3,
            ttl_ms: 3_600_000,
            labels: BTreeMap::from([("env".into(), "prod".into()), ("role".into(), "web".into())]),
            name: "web-*".into(),
            networks: vec!["10.0.0.0/8".into()],
            ask: true,
        };
        let said = "a join token, 3 uses, 1h, env=prod role=web, named web-*, from 10.0.0.0/8, each asks";
        assert_eq!(token(&wide), said);

        let whole = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
        assert_eq!(file("prod.toml", "a"), format!("prod.toml (sha256 {whole})"));
        assert_ne!(file("prod.toml", "a"), file("prod.toml", "b"));

        let drained = pb::DrainHostRequest { host: "web-1".into(), ..Default::default() };
        assert_eq!(drain(&drained), "drain host web-1");
        let at_once = pb::DrainHostRequest { stop_within_ms: Some(30_000), ..drained };
        assert_eq!(drain(&at_once), "drain host web-1, apps stop within 30s");

        let frozen = pb::FreezeRequest {
            env: "production".into(),
            until: "2026-12-27 06:00".into(),
            no_rollback: true,
            ..Default::default()
        };
        assert_eq!(freeze(&frozen), "freeze production, until 2026-12-27 06:00, not even back");

        let (env, names) = ("production".parse().unwrap(), ["web-1".to_owned(), "web-2".to_owned()]);
        let (one, other) = (SealedDigest([1; 32]), SealedDigest([2; 32]));
        let sealed = seal(Some(&env), "db", &one, &names);
        let whole = "01".repeat(32);
        assert_eq!(sealed, format!("environment production: seal secret db, {whole}, for web-1, web-2"));
        assert_ne!(sealed, seal(Some(&env), "db", &other, &names));
        let turned = [names[1].clone(), names[0].clone()];
        assert_eq!(sealed, seal(Some(&env), "db", &one, &turned), "by name, however they come");
        assert_eq!(seal(None, "key", &one, &names[..1]), format!("host web-1: seal secret key, {whole}"));

        let faster = pb::Pace { wave: Some("50%".into()), bake_ms: Some(10_000), ..Default::default() };
        assert_eq!(pace(&faster), " (wave 50%, bake 10s)");
    }

    #[test]
    fn a_long_list_is_told_in_part_and_meant_as_a_whole() {
        let names = |last: &str| -> Vec<String> {
            (0..30).map(|n| format!("web-{n}")).chain([last.to_owned()]).collect()
        };
        assert!(hosts(&names("a")).contains("and 11 more (sha256 "), "{}", hosts(&names("a")));
        assert_ne!(hosts(&names("a")), hosts(&names("b")));
        assert_eq!((hosts(&[]).as_str(), hosts(&["web-1".into()]).as_str()), ("", " web-1 in"));
    }
}
