//! A rollout's change of state as transactions.
//!
//! Mostly it is one: header, changed hosts, new assignments, what the reports say of the hosts. Where that is more
//! than a transaction holds, it is several, each guarded by the header as the one before left it. Each host's record
//! and its assignment are always in the same one. A crash between two leaves a state from which the core, with the
//! next tick, draws the same conclusions: the phase comes first, and hosts that it has not reached yet are asked then.
//! When a rollout is over it is the other way round, and the end comes last, with the lock's.

use longshore_common::{
    assignment::Assignment,
    ids::{AppName, HostId, RolloutId},
    time::Millis,
};

use super::{
    gates::{self, GateResult},
    records::{self, Given, HostApp, LiveRecord, Loaded, Lock, Record},
    snapshots::Kept,
};
use crate::{
    gate::Checks,
    notify::{outbox, rollouts},
    rollout::{Outcome, Phase, Rollout, changed_hosts},
    store::{Guard, Key, Prefix, Revision, SharedStore, TXN_OPS_MAX, Txn, Write, record},
    trouble::Trouble,
};

/// What a host's reports add to its state record.
#[derive(Clone, Debug)]
pub struct StateChange {
    pub host: HostId,
    pub app: AppName,
    pub read: Option<Revision>,
    pub state: HostApp,
}

/// Guards and writes that stand or fall together.
#[derive(Debug, Default)]
struct Unit {
    guards: Vec<Guard>,
    writes: Vec<Write>,
}

impl Unit {
    fn ops(&self) -> usize {
        self.guards.len() + self.writes.len()
    }

    fn put<T: serde::Serialize>(&mut self, key: Key, value: &T) -> Result<(), Trouble> {
        let bytes = record::encode(&key, value)?;
        self.writes.push(Write::Put(key, bytes));
        Ok(())
    }

    /// The key must be as it was read.
    fn as_read(&mut self, key: Key, read: Option<Revision>) {
        self.guards.push(match read {
            None => Guard::Absent(key),
            Some(revision) => Guard::Unchanged(key, revision),
        });
    }
}

/// Makes `next` what the store holds instead of `loaded`. Returns the header's new revision; when nothing is
/// different, nothing is written and it is the old one.
pub async fn advance(
    store: &SharedStore,
    loaded: &Loaded,
    next: &Rollout,
    states: Vec<StateChange>,
    gates: &[GateResult],
    now: Millis,
) -> Result<Revision, Trouble> {
    let mut units = host_units(&loaded.rollout, next)?;
    let moved = !units.is_empty() || next.header != loaded.rollout.header;
    for state in states {
        units.push(state_unit(&state)?);
    }
    for result in gates {
        let mut unit = Unit::default();
        unit.put(Key::gate_result(&next.header.id, result.settled.run.number), result)?;
        units.push(unit);
    }
    let header = if moved { Some(header_unit(store, loaded, next, now).await?) } else { None };
    let end_last = next.header.phase.is_done();
    let header_key = Key::rollout(&next.header.id);
    let mut revision = loaded.revision;
    for (holds_header, txn) in pack(header, units, end_last) {
        // The first guard of every transaction: nobody else has moved this rollout.
        let mut txn = txn;
        txn.guards.push(Guard::Unchanged(header_key.clone(), revision));
        let committed = store.commit(txn).await?;
        if holds_header {
            revision = committed;
        }
    }
    Ok(revision)
}

/// One per changed host: its record, and its assignment where that is new.
fn host_units(before: &Rollout, after: &Rollout) -> Result<Vec<Unit>, Trouble> {
    let mut units = vec![];
    for id in changed_hosts(before, after) {
        let host = &after.hosts[&id];
        let mut unit = Unit::default();
        unit.put(Key::rollout_host(&after.header.id, &id), &**host)?;
        let asked_before = before.hosts.get(&id).map(|host| (host.ask, host.round));
        if asked_before != Some((host.ask, host.round))
            && let Some(given) = Given::of(after, id, host)
        {
            unit.put(Key::assignment(&id, &given.assignment.app), &given)?;
        }
        units.push(unit);
    }
    Ok(units)
}

fn state_unit(change: &StateChange) -> Result<Unit, Trouble> {
    let key = Key::state(&change.host, &change.app);
    let mut unit = Unit::default();
    unit.as_read(key.clone(), change.read);
    unit.put(key, &change.state)?;
    Ok(unit)
}

/// The header, with what balancers are told under the round that it names; at the end of the rollout also the lock's end, and what is live from now on.
async fn header_unit(
    store: &SharedStore,
    loaded: &Loaded,
    next: &Rollout,
    now: Millis,
) -> Result<Unit, Trouble> {
    let mut unit = Unit::default();
    let record = Record { header: next.header.clone(), ..loaded.record.clone() };
    unit.put(Key::rollout(&next.header.id), &record)?;
    let round = |rollout: &Rollout| rollout.header.balancing.as_ref().map(|balancing| balancing.round);
    for (id, _) in next.balancers().filter(|_| round(&loaded.rollout) != round(next)) {
        let Some(given) = Given::of_balancer(next, id) else { continue };
        let key = Key::assignment(&id, &given.assignment.app);
        let held = records::get::<Given>(store, &key).await?;
        let (held, read) = held.unzip();
        // A rollout that is over has the word only until another tells balancers something.
        if held.is_some_and(|held| held.assignment.generation > given.assignment.generation) {
            continue;
        }
        unit.as_read(key.clone(), read);
        unit.put(key, &given)?;
    }
    let mut happenings = rollouts::happenings(&loaded.rollout.header, &record);
    for happening in &mut happenings {
        happening.failure = rollouts::failure(next);
        for gate in &mut happening.gates {
            gate.asked = gates::asked(store, &next.header, &gate.name).await?;
        }
    }
    unit.writes.extend(outbox::writes_of(store, &next.header.env, &happenings, now).await?);
    let (Phase::Done(done), false) = (&next.header.phase, loaded.rollout.header.phase.is_done()) else {
        return Ok(unit);
    };
    let (env, app) = (&next.header.env, &next.header.app);
    let lock_key = Key::active(env, app);
    if let Some((lock, revision)) = records::get::<Lock>(store, &lock_key).await?
        && lock.rollout == next.header.id
    {
        unit.as_read(lock_key.clone(), Some(revision));
        unit.writes.push(Write::Delete(lock_key));
    }
    if matches!(done.outcome, Outcome::Succeeded | Outcome::NothingToDo) {
        let live_key = Key::live(env, app);
        let live = records::get::<LiveRecord>(store, &live_key).await?;
        let (live, read) = live.unzip();
        let side = next.header.side_with_traffic();
        let same =
            |live: &LiveRecord| live.target == next.header.target && (side.is_none() || live.side == side);
        if !live.as_ref().is_some_and(same) {
            unit.as_read(live_key.clone(), read);
            unit.put(live_key, &LiveRecord::after(live, &record, now))?;
        }
    }
    Ok(unit)
}

/// Units into transactions, in order; each with room for the guard of the header. Says which one has the header.
fn pack(header: Option<Unit>, units: Vec<Unit>, header_last: bool) -> Vec<(bool, Txn)> {
    let mut order: Vec<(bool, Unit)> = units.into_iter().map(|unit| (false, unit)).collect();
    if let Some(header) = header {
        let at = if header_last { order.len() } else { 0 };
        order.insert(at, (true, header));
    }
    let mut packed: Vec<(bool, Txn)> = vec![];
    for (is_header, unit) in order {
        let fits = packed.last().is_some_and(|(_, txn)| txn.ops() + unit.ops() < TXN_OPS_MAX);
        if !fits {
            packed.push((false, Txn::new()));
        }
        let (holds_header, txn) = packed.last_mut().expect("one was pushed when there was none");
        *holds_header |= is_header;
        txn.guards.extend(unit.guards);
        txn.writes.extend(unit.writes);
    }
    packed
}

/// Makes a new rollout, with its lock if it has one yet. Large fleets take several transactions: the hosts' records
/// first, under an id that nothing names yet, then the header with everything that makes it count.
pub async fn create(
    store: &SharedStore,
    record: &Record,
    rollout: &Rollout,
    beside: (Vec<Guard>, Vec<Write>),
    sequence: (Key, u64),
    lock: Option<&Lock>,
    checks: &Checks,
) -> Result<(), Trouble> {
    let id = &record.header.id;
    let (guards, writes) = beside;
    let mut last = Unit { guards, writes };
    let lock_key = Key::active(&record.header.env, &record.header.app);
    last.guards.push(Guard::Absent(lock_key.clone()));
    if let Some(lock) = lock {
        last.put(lock_key, lock)?;
    }
    last.guards.push(Guard::Absent(Key::rollout(id)));
    last.put(Key::rollout(id), record)?;
    last.put(sequence.0, &sequence.1)?;
    if !checks.by_gate.is_empty() {
        last.put(Key::rollout_gates(id), checks)?;
    }
    let mut units = vec![];
    if let Some((digest, snapshot)) = record.header.target.snapshot.zip(rollout.snapshot()) {
        let kept = Kept { at_ms: record.header.created_ms, snapshot: (**snapshot).clone() };
        let mut unit = Unit::default();
        unit.put(Key::snapshot(&digest), &kept)?;
        units.push(unit);
    }
    for (host, progress) in &rollout.hosts {
        let mut unit = Unit::default();
        unit.put(Key::rollout_host(id, host), &**progress)?;
        units.push(unit);
    }
    for (_, txn) in pack(Some(last), units, true) {
        store.commit(txn).await?;
    }
    Ok(())
}

/// Writes every assignment that the state owes and the store does not hold: after a crash, before anything else.
pub async fn restore_assignments(store: &SharedStore, loaded: &Loaded) -> Result<usize, Trouble> {
    let mut written = 0;
    let rollout = &loaded.rollout;
    let hosts = rollout.hosts.iter().filter_map(|(id, host)| Given::of(rollout, *id, host));
    for given in hosts.chain(rollout.balancers().filter_map(|(id, _)| Given::of_balancer(rollout, id))) {
        let owed = &given.assignment;
        let key = Key::assignment(&owed.host, &owed.app);
        let held = records::get::<Assignment>(store, &key).await?;
        let (held, read) = held.unzip();
        if held.is_some_and(|held| held.generation >= owed.generation) {
            continue;
        }
        let txn = Txn::new()
            .as_read(key.clone(), read)
            .unchanged(Key::rollout(&loaded.record.header.id), loaded.revision)
            .put(key.clone(), record::encode(&key, &given)?);
        store.commit(txn).await?;
        written += 1;
    }
    Ok(written)
}

/// Drops a rollout that is over. The header goes last, so that what a crash leaves is found again.
pub async fn forget(store: &SharedStore, id: &RolloutId) -> Result<(), Trouble> {
    for prefix in [Prefix::rollout_hosts(id), Prefix::gate_results(id), Prefix::gate_answers(id)] {
        for chunk in store.list(&prefix).await?.entries.chunks(TXN_OPS_MAX) {
            let txn = chunk.iter().fold(Txn::new(), |txn, entry| txn.delete(entry.key.clone()));
            store.commit(txn).await?;
        }
    }
    store.commit(Txn::new().delete(Key::rollout_gates(id)).delete(Key::rollout(id))).await?;
    Ok(())
}
