//! Ciphertexts into the store.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use longshore_common::{
    code::{Code, Coded},
    digest::SealedDigest,
    ids::HostId,
};
use sha2::Digest as _;

use super::{Head, ROWS_MAX, Row, TEXT_BYTES, is_recipient};
use crate::{
    engine::records,
    store::{Key, SharedStore, TXN_OPS_MAX, Txn, record},
    trouble::Trouble,
};

/// What an age file begins with.
const AGE: &[u8] = b"age-encryption.org/v1\n";

/// A ciphertext as it came in.
#[derive(Clone, Debug)]
pub struct NewRow {
    pub host: HostId,
    pub recipient: String,
    pub text: Vec<u8>,
}

/// Keeps a head, the rows, and then the head that makes them count. The same rows again are the same digest.
pub async fn keep(store: &SharedStore, head: Head, mut rows: Vec<NewRow>) -> Result<SealedDigest, Trouble> {
    let digest = name(&head.name, &mut rows)?;
    begin(store, &digest, &head).await?;
    for chunk in rows.chunks(TXN_OPS_MAX) {
        let mut txn = Txn::new();
        for NewRow { host, recipient, text } in chunk {
            let key = Key::sealed_host(&digest, host);
            let row = Row { recipient: recipient.clone(), text: STANDARD.encode(text) };
            txn = txn.put(key.clone(), record::encode(&key, &row)?);
        }
        store.commit(txn).await?;
    }
    let key = Key::sealed(&digest);
    let head = Head { hosts: rows.len() as u32, ..head };
    store.commit(Txn::new().put(key.clone(), record::encode(&key, &head)?)).await?;
    tracing::info!(env = %head.env, by = head.by, hosts = head.hosts, digest = digest.short(), "secret sealed");
    Ok(digest)
}

/// Where a controller dies among the rows, `sweep` finds them by this head. One that is there stays as whole as it is, and is
/// not dropped meanwhile.
async fn begin(store: &SharedStore, digest: &SealedDigest, head: &Head) -> Result<(), Trouble> {
    let key = Key::sealed(digest);
    let (before, read) = records::get::<Head>(store, &key).await?.unzip();
    let begun = match before {
        Some(before) => Head { unnamed: None, ..before },
        None => Head { hosts: 0, ..head.clone() },
    };
    let txn = Txn::new().as_read(key.clone(), read).put(key.clone(), record::encode(&key, &begun)?);
    match store.commit(txn).await.map_err(Trouble::from) {
        Err(trouble) if !trouble.is_conflict() => Err(trouble),
        Ok(_) | Err(_) => Ok(()), // somebody else keeps the same
    }
}

/// Under what it will be kept; puts the rows in their order. An error says what is wrong with them.
pub fn name(secret: &str, rows: &mut [NewRow]) -> Result<SealedDigest, Coded> {
    rows.sort_by_key(|row| row.host);
    check(rows)?;
    Ok(digest(secret, rows))
}

fn check(rows: &[NewRow]) -> Result<(), Coded> {
    let refuse = |code, why: String| Err(Coded::new(code, format!("{why}; nothing was kept")));
    if rows.is_empty() {
        return refuse(Code::V01, "a secret has to be sealed for at least one host".into());
    }
    if rows.len() > ROWS_MAX {
        return refuse(Code::A04, format!("{} hosts; at most {ROWS_MAX} have one secret", rows.len()));
    }
    for NewRow { host, recipient, text } in rows {
        if !is_recipient(recipient) {
            return refuse(Code::V01, format!("what is said of host {host} is no recipient"));
        }
        if text.len() > TEXT_BYTES {
            return refuse(Code::A04, format!("{} bytes for host {host}; at most {TEXT_BYTES}", text.len()));
        }
        if !text.starts_with(AGE) {
            return refuse(Code::A05, format!("what is sealed for host {host} is no age file"));
        }
    }
    if rows.windows(2).any(|pair| pair[0].host == pair[1].host) {
        return refuse(Code::V01, "one host is there twice".into());
    }
    Ok(())
}

fn digest(secret: &str, rows: &[NewRow]) -> SealedDigest {
    let mut hash = sha2::Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add(secret.as_bytes());
    for NewRow { host, recipient, text } in rows {
        add(host.0.as_bytes());
        add(recipient.as_bytes());
        add(text);
    }
    SealedDigest(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{sealed, store::MemoryStore};

    fn head() -> Head {
        let env = "production".parse().unwrap();
        Head { name: "db".into(), env, hosts: 0, at_ms: 1, by: "ada".into(), unnamed: None }
    }

    fn new(host: u128, text: &[u8]) -> NewRow {
        let text = [AGE, text].concat();
        NewRow { host: HostId(uuid::Uuid::from_u128(host)), recipient: "age1qqq".into(), text }
    }

    #[tokio::test]
    async fn each_host_finds_its_own_under_one_digest() {
        let store: SharedStore = Arc::new(MemoryStore::new());
        let rows: Vec<NewRow> = (0..300).map(|n| new(n, &n.to_le_bytes())).collect();
        let digest = keep(&store, head(), rows.clone()).await.unwrap();
        assert_eq!(keep(&store, head(), rows.into_iter().rev().collect()).await.unwrap(), digest);
        let other = sealed::row(&store, &digest, &HostId(uuid::Uuid::from_u128(299))).await.unwrap().unwrap();
        let text = [AGE, &299_u128.to_le_bytes()].concat();
        assert_eq!((STANDARD.decode(other.text).unwrap(), other.recipient.as_str()), (text, "age1qqq"));
        assert_eq!(sealed::row(&store, &digest, &HostId(uuid::Uuid::from_u128(300))).await.unwrap(), None);
        assert_ne!(keep(&store, head(), vec![new(0, b"x")]).await.unwrap(), digest);
    }

    #[tokio::test]
    async fn what_is_no_age_file_for_a_recipient_is_refused() {
        let plain = NewRow { text: b"hunter2".to_vec(), ..new(1, b"") };
        let stranger = NewRow { recipient: "ssh-ed25519 AAAA".into(), ..new(1, b"") };
        let large = new(1, &vec![0; TEXT_BYTES]);
        let rows = [
            (vec![], "at least one host"),
            (vec![plain], "no age file"),
            (vec![stranger], "no recipient"),
            (vec![large], "at most"),
            (vec![new(1, b"a"), new(1, b"b")], "twice"),
        ];
        for (rows, why) in rows {
            let store: SharedStore = Arc::new(MemoryStore::new());
            let refused = keep(&store, head(), rows).await.unwrap_err().coded();
            assert!(refused.message.contains(why), "{refused}");
            assert!(!refused.message.contains("hunter2"));
            let all = store.list(&crate::store::Prefix::all()).await.unwrap();
            assert_eq!(all.entries.len(), 0, "{why}");
        }
    }
}
