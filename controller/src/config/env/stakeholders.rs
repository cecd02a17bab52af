//! `[stakeholders]`: whose the environment is, and who is told of what, and how.

use std::collections::BTreeMap;

use longshore_common::{
    strict::{Guard, Table},
    text::visible,
};

use super::approval::{Roles, operators};
use crate::notify::{Address, Kind, Stakeholders, Teller};

/// Ways of telling, and receivers of each.
const MOST: usize = 16;
const TEXT_BYTES: usize = 256;

/// Words that stand for people.
const OWNER: &str = "owner";
const APPROVERS: &str = "approvers";

pub(super) fn stakeholders(root: &Table<'_>, roles: &Roles) -> Stakeholders {
    let table = root.table("stakeholders");
    let owner: Option<String> = table.optional("owner");
    let approvers = operators(&table, "stakeholders", "approvers", roles);
    let contacts = table.texts("contacts");
    for (name, address) in &contacts {
        check_mail(&table, "contacts", &format!("stakeholders.contacts.{}", visible(name)), address);
    }
    let approvers: Vec<String> = approvers.iter().map(ToString::to_string).collect();
    let people = People { owner: owner.as_deref(), approvers: &approvers, contacts: &contacts };
    let mut tell: Vec<Teller> = vec![];
    for entry in table.tables("tell") {
        if let Some(teller) = teller(&entry, &people) {
            if tell.iter().any(|other| other.name == teller.name) {
                let shown = visible(&teller.name);
                entry.problem_at("name", format!("stakeholders.tell.name: there is a \"{shown}\" already"));
            }
            tell.push(teller);
        }
    }
    if tell.len() > MOST {
        table.problem_at("tell", format!("stakeholders.tell: at most {MOST}"));
    }
    Stakeholders { owner, approvers, contacts, tell }
}

struct People<'a> {
    owner: Option<&'a str>,
    approvers: &'a [String],
    contacts: &'a BTreeMap<String, String>,
}

fn teller(entry: &Guard<'_>, people: &People<'_>) -> Option<Teller> {
    let name: Option<String> = entry.required("name");
    let on = kinds(entry);
    let Some(way) = entry.one_of(&["email", "webhook"]) else {
        drop(entry.keys()); // which of them belong there nobody can tell
        return None;
    };
    let address = match way {
        "webhook" => webhook(entry)?,
        _ => Address::Email { to: receivers(entry, people) },
    };
    let name = name?;
    if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
        entry.problem_at("name", "stakeholders.tell.name: 1 to 64 bytes that can be printed");
    }
    Some(Teller { name, on, address })
}

/// What is told of; everything when nothing is said.
fn kinds(entry: &Guard<'_>) -> Vec<Kind> {
    let mut kinds = vec![];
    for text in entry.list::<String>("on") {
        match Kind::ALL.into_iter().find(|kind| kind.as_str() == text) {
            Some(kind) => kinds.push(kind),
            None => {
                let known = Kind::ALL.map(Kind::as_str).join(", ");
                let shown = visible(&text);
                entry.problem_at("on", format!("stakeholders.tell.on: \"{shown}\" is none of {known}"));
            }
        }
    }
    kinds
}

fn webhook(entry: &Guard<'_>) -> Option<Address> {
    let (url, secret): (Option<String>, Option<String>) =
        (entry.optional("webhook"), entry.required("secret"));
    let url = url?;
    let sound = (url.starts_with("https://") || url.starts_with("http://"))
        && url.len() <= TEXT_BYTES
        && url.chars().all(|c| c.is_ascii_graphic());
    if !sound {
        entry.problem_at(
            "webhook",
            format!(
                "stakeholders.tell.webhook: \"{}\" is not an address: write \"https://chat.example/hook\"",
                visible(&url)
            ),
        );
    }
    Some(Address::Webhook { url, secret: secret? })
}

/// Addresses, and people who have one in `contacts`.
fn receivers(entry: &Guard<'_>, people: &People<'_>) -> Vec<String> {
    let texts: Vec<String> = entry.list("email");
    if texts.is_empty() {
        entry.problem_at("email", "stakeholders.tell.email: names nobody");
    }
    if texts.len() > MOST {
        entry.problem_at("email", format!("stakeholders.tell.email: at most {MOST}"));
    }
    let mut to = vec![];
    for text in &texts {
        match text.as_str() {
            OWNER => to.extend(people.owner.and_then(|owner| contact(entry, owner, people))),
            APPROVERS => to.extend(people.approvers.iter().filter_map(|name| contact(entry, name, people))),
            text if text.contains('@') => {
                check_mail(entry, "email", "stakeholders.tell.email", text);
                to.push(text.to_owned());
            }
            name => to.extend(contact(entry, name, people)),
        }
        if text == OWNER && people.owner.is_none() {
            entry.problem_at("email", "stakeholders.tell.email: [stakeholders] names no owner");
        }
        if text == APPROVERS && people.approvers.is_empty() {
            entry.problem_at("email", "stakeholders.tell.email: [stakeholders] names no approvers");
        }
    }
    to.sort_unstable();
    to.dedup();
    to
}

fn contact(entry: &Guard<'_>, name: &str, people: &People<'_>) -> Option<String> {
    if name.contains('@') {
        return Some(name.to_owned());
    }
    let found = people.contacts.get(name).cloned();
    if found.is_none() {
        let shown = visible(name);
        entry.problem_at(
            "email",
            format!("stakeholders.tell.email: {shown} has no address in [stakeholders.contacts]"),
        );
    }
    found
}

fn check_mail(table: &Table<'_>, key: &str, what: &str, address: &str) {
    let sound = address.len() <= TEXT_BYTES
        && address.chars().all(|c| c.is_ascii_graphic() && !"<>,;\"".contains(c))
        && address
            .split_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'));
    if !sound {
        table.problem_at(key, format!("{what}: \"{}\" is no e-mail address", visible(address)));
    }
}
