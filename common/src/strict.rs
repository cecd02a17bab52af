//! Strict reading of the TOML files that people write.
//!
//! A file is read once, every problem in it is named at once, each with line and column, what was expected and the
//! nearest known key; then either the whole value is there or nothing is. Readers ask a `Table` for what they know;
//! what nobody asked for is an unknown key.
//!
//! ```
//! use longshore_common::{ids::AppName, strict::File, time::Span};
//!
//! let file = File::new("app.toml", "[app]\nname = \"shop\"\nretry = 3\n");
//! let problems = file.read(|root| {
//!     let app = root.table("app");
//!     let name: Option<AppName> = app.required("name");
//!     let wait: Option<Span> = app.optional("retry_wait");
//!     Some((name?, wait))
//! });
//! assert!(problems.unwrap_err().to_string().contains("app.toml:3:1: unknown key \"retry\" in [app]"));
//! ```

use std::{cell::RefCell, collections::BTreeMap, fmt, ops::Range, str::FromStr};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    code::{Code, Coded},
    text::{nearest, visible},
};

/// Bytes of a file; larger ones are refused unread.
pub const FILE_BYTES: usize = 256 * 1024;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub message: String,
}

/// Everything that is wrong with a file, in the order of the file. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    pub file: String,
    pub list: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, Problem { line, column, message }) in self.list.iter().enumerate() {
            let newline = if nth == 0 { "" } else { "\n" };
            write!(f, "{newline}{}:{line}:{column}: {message}", visible(&self.file))?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problems> for Coded {
    fn from(problems: Problems) -> Coded {
        Coded::new(Code::M01, problems.to_string())
    }
}

/// A file's name and text.
#[derive(Clone, Copy, Debug)]
pub struct File<'a> {
    name: &'a str,
    text: &'a str,
}

impl<'a> File<'a> {
    pub fn new(name: &'a str, text: &'a str) -> Self {
        Self { name, text }
    }

    /// Runs `reader` over the file. `reader` may return None only where a problem was noted.
    pub fn read<T>(self, reader: impl FnOnce(&Table<'_>) -> Option<T>) -> Result<T, Problems> {
        let found: Notes = RefCell::default();
        let mut value = None;
        if self.text.len() > FILE_BYTES {
            let message = format!("the file has {} bytes; at most {FILE_BYTES} are read", self.text.len());
            found.borrow_mut().push((0, message));
        } else {
            let (document, errors) = DeTable::parse_recoverable(self.text);
            if errors.is_empty() {
                let root = Table::new(document.get_ref(), String::new(), document.span(), &found);
                value = reader(&root);
                root.finish();
            }
            for error in errors {
                let at = error.span().map_or(0, |span| span.start);
                found.borrow_mut().push((at, error.message().to_owned()));
            }
        }
        let mut list = found.into_inner();
        list.sort();
        list.dedup();
        match value {
            Some(value) if list.is_empty() => Ok(value),
            _ => {
                let list: Vec<Problem> =
                    list.into_iter().map(|(at, message)| self.locate(at, message)).collect();
                assert!(!list.is_empty(), "a reader gave nothing and noted no problem in {}", self.name);
                Err(Problems { file: self.name.to_owned(), list })
            }
        }
    }

    fn locate(self, at: usize, message: String) -> Problem {
        let at = (0..=at.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0);
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Problem {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message,
        }
    }
}

type Notes = RefCell<Vec<(usize, String)>>;

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

/// A type that a TOML value can be read as.
pub trait Read: Sized {
    /// What a reader of the message should write instead.
    const EXPECTED: &'static str;
    /// `Err(None)`: the wrong type; `Err(Some(why))`: the right type with an impossible value.
    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>>;
}

impl<'d> Table<'d> {
    fn new(entries: &'d DeTable<'d>, path: String, span: Range<usize>, notes: &'d Notes) -> Self {
        Self { entries: Some(entries), path, span, known: RefCell::default(), notes }
    }

    fn absent(path: String, span: Range<usize>, notes: &'d Notes) -> Self {
        Self { entries: None, path, span, known: RefCell::default(), notes }
    }

    /// Whether the file has this table at all.
    pub fn is_present(&self) -> bool {
        self.entries.is_some()
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
        self.notes.borrow_mut().push((at, message));
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { quoted(key) } else { format!("{}.{}", self.path, quoted(key)) }
    }

    fn place(&self) -> String {
        if self.path.is_empty() { "the file".to_owned() } else { format!("[{}]", self.path) }
    }

    /// Notes every key that nobody asked for.
    fn finish(&self) {
        let Some(entries) = self.entries else { return };
        let known = self.known.borrow();
        for (key, _) in entries.iter() {
            let name = key.get_ref();
            if known.iter().any(|word| word == name) {
                continue;
            }
            let hint = nearest(name, known.iter().map(String::as_str))
                .map_or_else(String::new, |word| format!("; did you mean \"{word}\"?"));
            self.note(
                key.span().start,
                format!("unknown key \"{}\" in {}{hint}", visible(name), self.place()),
            );
        }
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

impl Read for String {
    const EXPECTED: &'static str = "text in quotes";
    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        value.as_str().map(str::to_owned).ok_or(None)
    }
}

impl Read for bool {
    const EXPECTED: &'static str = "true or false";
    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        value.as_bool().ok_or(None)
    }
}

macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl Read for $type {
            const EXPECTED: &'static str = "a whole number";
            fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
                let number = value.as_integer().ok_or(None)?;
                <$type>::from_str_radix(number.as_str(), number.radix())
                    .map_err(|_| Some(format!("expected a whole number from 0 to {}", <$type>::MAX)))
            }
        }
    )*};
}
whole_number!(u16, u32, u64);

/// Text, or a number or boolean taken as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar(pub String);

impl Read for Scalar {
    const EXPECTED: &'static str = "text, a number or a boolean";
    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        match value {
            DeValue::String(text) => Ok(Scalar(text.to_string())),
            DeValue::Integer(number) if number.radix() == 10 => Ok(Scalar(number.as_str().to_owned())),
            DeValue::Float(number) => Ok(Scalar(number.as_str().to_owned())),
            DeValue::Boolean(truth) => Ok(Scalar(truth.to_string())),
            _ => Err(None),
        }
    }
}

/// Bytes: a whole number, or text like `500MiB`, `2GiB`, `64KB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl Read for Bytes {
    const EXPECTED: &'static str = "a size like \"500MiB\"";
    fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
        if value.is_integer() {
            return u64::read(value).map(Bytes);
        }
        let text = value.as_str().ok_or(None)?;
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let factor: u64 = match text[digits..].trim() {
            "" | "B" => 1,
            "KB" => 1000,
            "MB" => 1000_u64.pow(2),
            "GB" => 1000_u64.pow(3),
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => 0,
        };
        let bytes = text[..digits].parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
        let sound = bytes.filter(|_| factor > 0);
        sound
            .map(Bytes)
            .ok_or_else(|| Some(format!("\"{}\" is not a size: write 500MiB, 2GiB or 64KB", visible(text))))
    }
}

/// For types whose `FromStr` explains itself: names, versions, selectors, lengths of time.
macro_rules! by_from_str {
    ($($type:ty => $expected:literal),* $(,)?) => {$(
        impl Read for $type {
            const EXPECTED: &'static str = $expected;
            fn read(value: &DeValue<'_>) -> Result<Self, Option<String>> {
                let text = value.as_str().ok_or(None)?;
                <$type>::from_str(text).map_err(|e| Some(e.message))
            }
        }
    )*};
}
by_from_str! {
    crate::ids::AppName => "an app name in quotes",
    crate::ids::EnvName => "an environment name in quotes",
    crate::ids::HostName => "a host name in quotes",
    crate::ids::Version => "a version in quotes",
    crate::label::Selector => "a selector in quotes, like \"env=prod\"",
    crate::time::Span => "a length of time in quotes, like \"30s\"",
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    fn problems(text: &str) -> Vec<String> {
        let read = File::new("f.toml", text).read(|root| {
            let app = root.table("app");
            let name: Option<String> = app.required("name");
            let wait: Option<Span> = app.optional("wait");
            let count = app.or("count", 1_u32);
            let disk: Option<Bytes> = app.optional("disk");
            let words: Vec<String> = app.list("words");
            for check in root.tables("check") {
                check.one_of(&["http", "tcp"]);
                drop((check.optional::<String>("http"), check.optional::<String>("tcp")));
            }
            Some((name?, wait, count, disk, words, app.texts("env")))
        });
        read.map_or_else(|p| p.to_string().lines().map(str::to_owned).collect(), |_| vec![])
    }

    #[test]
    fn a_sound_file_has_no_problems() {
        let sound = "[app]\nname='a'\nwait='2s'\ncount=3\ndisk='2MiB'\nwords=['x']\nenv={A=1,B='x',C=true}\n[[check]]\nhttp='u'\n";
        assert_eq!(problems(sound), Vec::<String>::new());
    }

    #[test]
    fn every_problem_is_named_at_once_with_its_place() {
        let text = "[app]\nnmae = 'a'\nwait = 'soon'\ncount = -1\ndisk = 'much'\nwords = 'x'\n[[check]]\n[[check]]\nhttp='a'\ntcp='b'\n[extra]\n";
        let expected = [
            "f.toml:1:1: [app] needs the key \"name\" (text in quotes)",
            "f.toml:2:1: unknown key \"nmae\" in [app]; did you mean \"name\"?",
            "f.toml:3:8: app.wait: \"soon\" is not a length of time: write 500ms, 20s, 2m, 1h30m or 7d",
            "f.toml:4:9: app.count: expected a whole number from 0 to 4294967295",
            "f.toml:5:8: app.disk: \"much\" is not a size: write 500MiB, 2GiB or 64KB",
            "f.toml:6:9: app.words: expected an array, found string",
            "f.toml:7:1: [check] needs one of \"http\", \"tcp\"",
            "f.toml:10:5: [check] may have only one of \"http\", \"tcp\"",
            "f.toml:11:2: unknown key \"extra\" in the file",
        ];
        assert_eq!(problems(text), expected);
    }

    #[test]
    fn broken_toml_is_named_with_its_place() {
        let found = problems("[app]\nname = \"a\nx = 1\nx = 2\n");
        assert!(found[0].starts_with("f.toml:2:"), "{found:?}");
    }

    #[test]
    fn hostile_keys_are_shown_escaped() {
        let found = problems("[app]\nname='a'\n\"\\u001b[31m\" = 1\n");
        assert_eq!(found, ["f.toml:3:1: unknown key \"\\x1b[31m\" in [app]"]);
    }

    #[test]
    fn a_file_of_endless_size_is_not_read() {
        assert!(problems(&"#".repeat(FILE_BYTES + 1))[0].contains("at most 262144 are read"));
    }
}
