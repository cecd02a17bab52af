//! Places for calls that hold much of us while they last: so many in all, and fewer for any one operator, so that nobody
//! alone keeps the others out by being slow.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use longshore_common::{
    code::{Code, Coded},
    ids::OperatorName,
};

/// Whoever clones it has the same places.
#[derive(Clone, Debug)]
pub struct Places {
    /// What has a place, in words: `releases are being published`.
    what: &'static str,
    all: usize,
    of_one: usize,
    /// By operator; never one with none.
    taken: Arc<Mutex<BTreeMap<OperatorName, usize>>>,
}

/// Given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    by: OperatorName,
}

impl Places {
    pub fn new(what: &'static str, all: usize, of_one: usize) -> Self {
        Self { what, all, of_one, taken: Arc::default() }
    }

    /// At once or not at all.
    pub fn take(&self, by: &OperatorName) -> Result<Place, Coded> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(by).copied().unwrap_or_default();
        if own >= self.of_one {
            return Err(self.full_of(by));
        }
        if taken.values().sum::<usize>() >= self.all {
            let message = format!("{} {} at the moment; try again in a few seconds", self.all, self.what);
            return Err(Coded::new(Code::C01, message));
        }
        taken.insert(by.clone(), own + 1);
        Ok(Place { places: self.clone(), by: by.clone() })
    }

    fn full_of(&self, by: &OperatorName) -> Coded {
        let (what, again) = (self.what, "try again in a few seconds");
        let message = match self.of_one {
            1 => format!("{what} by operator {by}, one at a time, which is all that one may have; {again}"),
            count => format!(
                "{count} {what} by operator {by}, which is all that one may have at the moment; {again}"
            ),
        };
        Coded::new(Code::C01, message)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let left = taken.get(&self.by).map_or(0, |own| own.saturating_sub(1));
        if left == 0 {
            taken.remove(&self.by);
        } else {
            taken.insert(self.by.clone(), left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_alone_keeps_the_others_out() {
        let [ann, bob]: [OperatorName; 2] = ["ann", "bob"].map(|name| name.parse().unwrap());
        let places = Places::new("things are being done", 3, 2);
        let refused = |by: &OperatorName| {
            let why = places.take(by).unwrap_err();
            assert_eq!(why.code, Code::C01, "{why}");
            why.message
        };
        let (first, _second) = (places.take(&ann).unwrap(), places.take(&ann).unwrap());
        assert_eq!(
            refused(&ann),
            "2 things are being done by operator ann, which is all that one may have at the moment; try again in a few \
             seconds"
        );
        let _bobs = places.take(&bob).unwrap();
        assert_eq!(refused(&bob), "3 things are being done at the moment; try again in a few seconds");
        drop(first);
        drop(places.clone().take(&bob).unwrap());
        drop(places.take(&ann).expect("both have left it"));
    }
}
