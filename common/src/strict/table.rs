//! A TOML table, asked key by key.

use std::{cell::RefCell, collections::BTreeMap, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Notes, Read, Scalar};
use crate::text::{nearest, visible};

/// A TOML table, of which each key is asked for by name.
#[derive(Debug)]
pub struct Table<'d> {
    /// None: the table is not there, and everything in it is absent.
    entries: Option<&'d DeTable<'d>>,
    /// Dotted; empty for the root.
    path: String,
    span: Range<usize>,
    known: RefCell<Vec<String>>,
    notes: &'d Notes,
}

impl<'d> Table<'d> {
    pub(super) fn new(entries: &'d DeTable<'d>, path: String, span: Range<usize>, notes: &'d Notes) -> Self {
        Self { entries: Some(entries), path, span, known: RefCell::default(), notes }
    }

    fn absent(path: String, span: Range<usize>, notes: &'d Notes) -> Self {
        Self { entries: None, path, span, known: RefCell::default(), notes }
    }

    /// Whether the file has this table at all.
    pub fn is_present(&self) -> bool {
        self.entries.is_some()
    }

    /// Whether the table has this key, whatever its value.
    pub fn has(&self, key: &str) -> bool {
        self.look(key).is_some()
    }

    /// The keys of a table whose writer chose them; none of them is unknown from then on.
    pub fn keys(&self) -> Vec<String> {
        let names: Vec<String> = self
            .entries
            .iter()
            .flat_map(|entries| entries.iter())
            .map(|(name, _)| name.get_ref().to_string())
            .collect();
        self.known.borrow_mut().extend(names.iter().cloned());
        names
    }

    /// The value of `key`, or None when it is absent or wrong; wrong is noted.
    pub fn optional<T: Read>(&self, key: &str) -> Option<T> {
        let value = self.look(key)?;
        self.convert(key, value)
    }

    /// Absent is a problem as well.
    pub fn required<T: Read>(&self, key: &str) -> Option<T> {
        if self.look(key).is_none() {
            self.missing(key, T::EXPECTED);
            return None;
        }
        self.optional(key)
    }

    /// `default` when absent. When wrong as well, so that reading goes on and finds what else is wrong.
    pub fn or<T: Read>(&self, key: &str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// An array of values; empty when absent.
    pub fn list<T: Read>(&self, key: &str) -> Vec<T> {
        let Some(value) = self.look(key) else { return vec![] };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, "an array", value);
            return vec![];
        };
        array.iter().filter_map(|item| self.convert(key, item)).collect()
    }

    /// The table below `key`; an empty one when absent.
    pub fn table<'s>(&'s self, key: &str) -> Guard<'s>
    where
        'd: 's,
    {
        let path = self.path_of(key);
        let Some(value) = self.look(key) else {
            return Guard(Table::absent(path, self.span.clone(), self.notes));
        };
        match value.get_ref().as_table() {
            Some(entries) => Guard(Table::new(entries, path, value.span(), self.notes)),
            None => {
                self.wrong_type(key, "a table", value);
                Guard(Table::absent(path, value.span(), self.notes))
            }
        }
    }

    /// The tables of `[[key]]`; none when absent.
    pub fn tables<'s>(&'s self, key: &str) -> Vec<Guard<'s>>
    where
        'd: 's,
    {
        let Some(value) = self.look(key) else { return vec![] };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, "an array of tables", value);
            return vec![];
        };
        let mut tables = vec![];
        for item in array.iter() {
            match item.get_ref().as_table() {
                Some(entries) => {
                    tables.push(Guard(Table::new(entries, self.path_of(key), item.span(), self.notes)))
                }
                None => self.wrong_type(key, "a table", item),
            }
        }
        tables
    }

    /// The tables below `key`, each under a name that the writer chose, with the name's place in the file.
    pub fn named_tables<'s>(&'s self, key: &str) -> Vec<(String, Guard<'s>)>
    where
        'd: 's,
    {
        let outer = self.table(key);
        let Some(entries) = outer.entries else { return vec![] };
        let mut named = vec![];
        for (name, value) in entries.iter() {
            let name = name.get_ref().to_string();
            outer.known.borrow_mut().push(name.clone());
            match value.get_ref().as_table() {
                Some(inner) => {
                    let path = format!("{}.{}", outer.path, quoted(&name));
                    named.push((name, Guard(Table::new(inner, path, value.span(), self.notes))));
                }
                None => outer.wrong_type(&name, "a table", value),
            }
        }
        named
    }

    /// Keys that the writer chose, with text values (numbers and booleans are taken as text); empty when absent.
    pub fn texts(&self, key: &str) -> BTreeMap<String, String> {
        let table = self.table(key);
        let Some(entries) = table.entries else { return BTreeMap::new() };
        let mut texts = BTreeMap::new();
        for (name, value) in entries.iter() {
            let name = name.get_ref().to_string();
            table.known.borrow_mut().push(name.clone());
            if let Some(Scalar(text)) = table.convert(&name, value) {
                texts.insert(name, text);
            }
        }
        texts
    }

    /// Exactly one of these keys has to be there; the one that is.
    pub fn one_of(&self, keys: &[&'static str]) -> Option<&'static str> {
        let there: Vec<&'static str> = keys.iter().copied().filter(|key| self.look(key).is_some()).collect();
        match there[..] {
            [one] => return Some(one),
            [] => self.note(self.span.start, format!("{} needs one of {}", self.place(), list_of(keys))),
            [_, second, ..] => {
                self.problem_at(second, format!("{} may have only one of {}", self.place(), list_of(keys)));
            }
        }
        None
    }

    /// Notes a problem at the value of `key`, or at the table where the key is absent.
    pub fn problem_at(&self, key: &str, message: impl Into<String>) {
        let at = self.look(key).map_or(self.span.start, |value| value.span().start);
        self.note(at, message.into());
    }

    fn look(&self, key: &str) -> Option<&'d Spanned<DeValue<'d>>> {
        let mut known = self.known.borrow_mut();
        if !known.iter().any(|name| name == key) {
            known.push(key.to_owned());
        }
        self.entries?.get(key)
    }

    fn convert<T: Read>(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<T> {
        match T::read(value.get_ref()) {
            Ok(read) => Some(read),
            Err(None) => {
                self.wrong_type(key, T::EXPECTED, value);
                None
            }
            Err(Some(why)) => {
                self.note(value.span().start, format!("{}: {why}", self.path_of(key)));
                None
            }
        }
    }

    fn missing(&self, key: &str, expected: &str) {
        self.note(self.span.start, format!("{} needs the key \"{key}\" ({expected})", self.place()));
    }

    fn wrong_type(&self, key: &str, expected: &str, value: &Spanned<DeValue<'_>>) {
        let found = value.get_ref().type_str();
        self.note(value.span().start, format!("{}: expected {expected}, found {found}", self.path_of(key)));
    }

    fn note(&self, at: usize, message: String) {
        self.notes.note(at, message);
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { quoted(key) } else { format!("{}.{}", self.path, quoted(key)) }
    }

    fn place(&self) -> String {
        if self.path.is_empty() { "the file".to_owned() } else { format!("[{}]", self.path) }
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(&self) {
        let Some(entries) = self.entries else { return };
        let known = self.known.borrow();
        for (key, _) in entries.iter() {
            let name = key.get_ref();
            if known.iter().any(|word| word == name) {
                continue;
            }
            let hint = self.hint(name, &known);
            self.note(
                key.span().start,
                format!("unknown key \"{}\" in {}{hint}", visible(name), self.place()),
            );
        }
    }

    /// Where it belongs, when it stands above the first table; else the key that is spelled nearly like it.
    fn hint(&self, name: &str, known: &[String]) -> String {
        let places = if self.path.is_empty() { self.notes.places_of(name) } else { vec![] };
        if let [place] = &places[..] {
            return format!("; it belongs in [{place}]");
        }
        nearest(name, known.iter().map(String::as_str))
            .map_or_else(String::new, |word| format!("; did you mean \"{word}\"?"))
    }

    /// What it was asked for, remembered for keys that stand in another place.
    fn remember(&self) {
        let known = self.known.borrow();
        let places = known.iter().map(|key| (key.clone(), self.path.clone()));
        self.notes.places.borrow_mut().extend(places);
    }
}

/// A table whose unknown keys are noted when its reader is done with it.
#[derive(Debug)]
pub struct Guard<'d>(Table<'d>);

impl<'d> std::ops::Deref for Guard<'d> {
    type Target = Table<'d>;
    fn deref(&self) -> &Table<'d> {
        &self.0
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.remember();
        self.0.finish();
    }
}

fn quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if bare { key.to_owned() } else { format!("\"{}\"", visible(key)) }
}

fn list_of(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("\"{key}\"")).collect::<Vec<_>>().join(", ")
}
