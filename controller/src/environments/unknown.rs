//! Whom and what a file names and this controller does not know: people, and secrets that were sealed. Either may come
//! later, so the file is applied all the same, and whoever applied it reads here that a name may be misspelt.

use std::collections::BTreeSet;

use longshore_common::{digest::SealedDigest, settings::Reference, text::visible};

use crate::{access, config::Environment, gate::Check, sealed::whole, store::SharedStore, trouble::Trouble};

/// One sentence each: where it is named, and what comes of it.
pub async fn unknown(store: &SharedStore, environment: &Environment) -> Result<Vec<String>, Trouble> {
    let users = access::list(store).await?.into_iter().map(|user| user.name.to_string());
    let mut told = strangers(environment, &users.collect());
    for (name, digest) in sealed(environment) {
        if whole(store, &digest).await?.is_none() {
            let (name, env) = (visible(&name), &environment.name);
            told.push(format!(
                "secrets.{name}: nothing was sealed under its digest on this controller; until it is, no rollout that \
                 brings it to a host begins. Encrypt it: longshore secret encrypt --env {env} {name}"
            ));
        }
    }
    Ok(told)
}

/// Those who are to agree are operators; whose the environment is may be somebody who only has an address.
fn strangers(environment: &Environment, users: &BTreeSet<String>) -> Vec<String> {
    let Environment { approval, stakeholders, gates, .. } = environment;
    let in_roles = approval.roles.values().filter(|role| !role.held).flat_map(|role| &role.members);
    let asked: BTreeSet<String> = approval.by.iter().chain(in_roles).map(ToString::to_string).collect();
    let mut named: Vec<(String, String)> =
        asked.into_iter().map(|name| ("approval".to_owned(), name)).collect();
    for declared in gates {
        if let Check::Approval(approval) = &declared.check {
            let by = approval.by.iter().map(|name| (format!("gate {}", declared.gate.name), name.clone()));
            named.extend(by);
        }
    }
    named.retain(|(_, name)| !users.contains(name));
    let told = named.into_iter().map(|(place, name)| {
        let name = visible(&name);
        format!("{place}: there is no operator {name}, whose approval could count. See: longshore user list")
    });
    let owner = stakeholders.owner.iter().map(|name| ("owner", name));
    let approvers = stakeholders.approvers.iter().map(|name| ("approvers", name));
    let reached = |name: &String| {
        users.contains(name) || stakeholders.contacts.contains_key(name) || name.contains('@')
    };
    let unreached = owner.chain(approvers).filter(|(_, name)| !reached(name)).map(|(key, name)| {
        format!("stakeholders.{key}: {} is no operator, and has no address in contacts", visible(name))
    });
    told.chain(unreached).collect()
}

/// Every sealed secret that some layer refers to, by the name it is used under.
fn sealed(environment: &Environment) -> BTreeSet<(String, SealedDigest)> {
    let layers = environment.declared_layers();
    let secrets = layers.iter().flat_map(|(_, layer)| &layer.settings.secrets);
    let sealed = secrets.filter_map(|(name, reference)| match reference {
        Reference::Sealed { digest } => Some((name.clone(), *digest)),
        Reference::File { .. } | Reference::Credential { .. } => None,
    });
    sealed.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn whoever_and_whatever_is_not_known_is_named() {
        let digest = SealedDigest([1; 32]);
        let file = format!(
            "[environment]\nname = \"production\"\nselector = \"env=prod\"\n\
             [approval]\ncount = 1\nby = [\"bob\", \"bobb\"]\n\
             [stakeholders]\nowner = \"zoe\"\napprovers = [\"bob\", \"carl\"]\n\
             [stakeholders.contacts]\ncarl = \"carl@example.org\"\n\
             [secrets]\ndb = {{ sealed = \"{}\" }}\n\
             [[gate]]\nname = \"go-live\"\nkind = \"approval\"\nafter = \"canary\"\ndeadline = \"8h\"\n\
             by = [\"eve\"]\n",
            digest.hex()
        );
        let environment = Environment::parse("production.toml", &file).unwrap();
        let store: SharedStore = Arc::new(MemoryStore::new());
        let bob = access::User::new("bob".parse().unwrap(), access::Grants::all(), "test", 0);
        access::create(&store, &bob).await.unwrap();
        let told = unknown(&store, &environment).await.unwrap();
        let parts = [
            "approval: there is no operator bobb, whose approval could count.",
            "gate go-live: there is no operator eve, whose approval could count.",
            "stakeholders.owner: zoe is no operator, and has no address in contacts",
            "secrets.db: nothing was sealed under its digest on this controller; until it is, no rollout",
        ];
        assert_eq!(told.len(), parts.len(), "{told:#?}");
        for (said, part) in told.iter().zip(parts) {
            assert!(said.starts_with(part), "{part}\nis not in\n{said}");
        }
    }
}
