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

mod read;
mod table;

pub use read::{Bytes, Read, Scalar};
pub use table::{Guard, Table};

use std::{cell::RefCell, collections::BTreeSet, fmt};

use toml::de::DeTable;

use crate::{
    code::{Code, Coded},
    text::visible,
};

/// Bytes of a file; larger ones are refused unread.
pub const FILE_BYTES: usize = 64 * 1024;

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
        let found = Notes::default();
        let mut value = None;
        if self.text.len() > FILE_BYTES {
            let message = format!("the file has {} bytes; at most {FILE_BYTES} are read", self.text.len());
            found.note(0, message);
        } else {
            let (document, errors) = DeTable::parse_recoverable(self.text);
            if errors.is_empty() {
                let root = Table::new(document.get_ref(), String::new(), document.span(), &found);
                value = reader(&root);
                root.finish();
            }
            for error in errors {
                let at = error.span().map_or(0, |span| span.start);
                found.note(at, error.message().to_owned());
            }
        }
        let mut list = found.problems.into_inner();
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

/// What was found out while reading.
#[derive(Debug, Default)]
struct Notes {
    /// Byte offset and message of what is wrong so far.
    problems: RefCell<Vec<(usize, String)>>,
    /// Keys that were asked for below the root, with the table: where a key that stands at the top belongs.
    places: RefCell<BTreeSet<(String, String)>>,
}

impl Notes {
    fn note(&self, at: usize, message: String) {
        self.problems.borrow_mut().push((at, message));
    }

    /// The tables that know this key.
    fn places_of(&self, key: &str) -> Vec<String> {
        let places = self.places.borrow();
        places.iter().filter(|(known, _)| known == key).map(|(_, place)| place.clone()).collect()
    }
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

    /// The table was forgotten above it: a likely name is worse than the place where the key belongs.
    #[test]
    fn a_key_that_stands_at_the_top_is_told_its_table() {
        let found = problems("name = 'a'\nwait = '2s'\n");
        assert_eq!(
            found,
            [
                "f.toml:1:1: [app] needs the key \"name\" (text in quotes)",
                "f.toml:1:1: unknown key \"name\" in the file; it belongs in [app]",
                "f.toml:2:1: unknown key \"wait\" in the file; it belongs in [app]",
            ]
        );
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
        assert!(problems(&"#".repeat(FILE_BYTES + 1))[0].contains("at most 65536 are read"));
        let whole = format!("[app]\nname='a'\n#{}", "#".repeat(FILE_BYTES - 16));
        assert_eq!((whole.len(), problems(&whole)), (FILE_BYTES, vec![]));
    }

    #[test]
    fn sizes_are_read_in_their_unit_and_never_past_the_largest_number() {
        let size = |text: &str| {
            File::new("f.toml", &format!("size = {text}\n")).read(|root| root.optional::<Bytes>("size")).ok()
        };
        for (text, bytes) in [
            ("7", 7),
            ("'7'", 7),
            ("'7B'", 7),
            ("'7 KB'", 7_000),
            ("'7MB'", 7_000_000),
            ("'7GB'", 7_000_000_000),
            ("'7KiB'", 7_168),
            ("'7MiB'", 7_340_032),
            ("'7GiB'", 7_516_192_768),
            ("'7TiB'", 7_696_581_394_432),
            ("'18446744073709551615'", u64::MAX),
        ] {
            assert_eq!(size(text), Some(Bytes(bytes)), "{text}");
        }
        for text in ["-1", "''", "'KB'", "'7kb'", "'7 7'", "'0x7'", "'18014398509481984KiB'", "true", "7.0"] {
            assert_eq!(size(text), None, "{text}");
        }
    }

    /// A number in another base would be its digits, which is another number.
    #[test]
    fn a_value_that_may_be_anything_is_taken_as_it_is_written() {
        let read = |text: &str| {
            let text = format!("[env]\nA = {text}\n");
            File::new("f.toml", &text).read(|root| Some(root.texts("env"))).ok().map(|env| env["A"].clone())
        };
        let said = ["'x'", "4", "-4", "1.50", "true"].map(|text| read(text).unwrap());
        assert_eq!(said, ["x", "4", "-4", "1.50", "true"]);
        for text in ["0x10", "0o7", "0b1", "[1]", "{ B = 1 }", "1979-05-27"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_table_tells_what_is_in_it() {
        let text = "on = true\noff = false\n[names]\n\"a b\" = 1\nc = 2\n";
        let told = File::new("f.toml", text).read(|root| {
            let names = root.table("names");
            assert!(names.has("c") && !names.has("d") && root.has("on"));
            Some((root.or("on", false), root.or("off", true), names.keys()))
        });
        assert_eq!(told.unwrap(), (true, false, vec!["a b".to_owned(), "c".to_owned()]));
    }

    /// As TOML would want it written.
    #[test]
    fn a_key_is_quoted_in_a_message_where_it_has_to_be() {
        let told = |key: &str| {
            let text = format!("[names.\"{key}\"]\nsize = 'much'\n");
            let read = File::new("f.toml", &text).read(|root| {
                root.named_tables("names").iter().for_each(|(_, table)| {
                    table.optional::<Bytes>("size");
                });
                Some(())
            });
            read.unwrap_err().to_string()
        };
        for (key, said) in
            [("a-b_1", "names.a-b_1.size:"), ("a b", "names.\"a b\".size:"), ("", "names.\"\".size:")]
        {
            assert!(told(key).contains(said), "{}", told(key));
        }
    }
}
