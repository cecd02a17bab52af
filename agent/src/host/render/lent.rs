//! Secrets as templates see them: had by name, one at a time, and it is noticed.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use minijinja::{
    Error, ErrorKind, Value,
    value::{Enumerator, Object, ObjectRepr},
};

use crate::host::secrets::Opened;

/// For the rendering of one file.
pub struct Lent(Arc<Purse>);

struct Purse {
    opened: Opened,
    used: AtomicBool,
    asked_in_vain: AtomicBool,
}

impl Lent {
    pub fn new(opened: &Opened) -> Self {
        let (used, asked_in_vain) = (AtomicBool::new(false), AtomicBool::new(false));
        Self(Arc::new(Purse { opened: opened.clone(), used, asked_in_vain }))
    }

    /// Some secret was asked for and given.
    pub fn was_used(&self) -> bool {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Some secret was asked for and is not there.
    pub fn was_asked_in_vain(&self) -> bool {
        self.0.asked_in_vain.load(Ordering::Relaxed)
    }

    /// `secrets.name`
    pub fn map(&self) -> Value {
        Value::from_object(Map(Arc::clone(&self.0)))
    }

    /// `secret("name")`
    pub fn function(&self) -> Value {
        let purse = Arc::clone(&self.0);
        Value::from_function(move |name: &str| {
            // A name that is no name may be a secret itself, so it is not repeated.
            let none = || Error::new(ErrorKind::UndefinedError, "no secret of that name is declared");
            purse.give(name).ok_or_else(none)
        })
    }
}

impl Purse {
    fn give(&self, name: &str) -> Option<Value> {
        let Some(plain) = self.opened.get(name) else {
            self.asked_in_vain.store(true, Ordering::Relaxed);
            return None;
        };
        self.used.store(true, Ordering::Relaxed);
        Some(Value::from(plain.text()))
    }
}

struct Map(Arc<Purse>);

impl Object for Map {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.give(key.as_str()?)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secrets)")
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secrets)")
    }
}
