//! What `explain` says is what `step` waits for.

use std::collections::BTreeSet;

use longshore_common::{
    ids::HostId,
    time::{Millis, Span},
};

use super::{balance::ROLLING, transcript::Play, walk};
use crate::rollout::{
    Away, Benched, Event, Facts, Hold, HoldKind, LastLook, Phase, Promote, Rollout, explain, last_look,
    look_every, next_deadline, step, step_in_look,
};

/// What is wrong with the holds of a settled rollout, if anything is.
pub(super) fn explained_is_awaited(rollout: &Rollout, now: Millis) -> Option<String> {
    let holds = explain(rollout, &Facts::default());
    let fail = |what: &str| Some(format!("{what}: {holds:#?}"));
    if holds.is_empty() != rollout.phase().is_done() {
        return fail("holds are empty exactly when it is done");
    }
    let opening = rollout.header.closed.as_ref().and_then(|closed| closed.until);
    let (shut, timed): (Vec<&Hold>, Vec<&Hold>) =
        holds.iter().partition(|hold| hold.kind == HoldKind::Closed);
    if shut.iter().any(|hold| hold.until != opening) {
        return fail("it opens at another time than a hold says");
    }
    if timed.iter().filter_map(|hold| hold.until).min() != next_deadline(rollout) {
        return fail("the first hold to end ends at another time than the rollout's deadline");
    }
    let gates = holds.iter().filter(|hold| hold.kind == HoldKind::Gate).count();
    let watched = matches!(rollout.phase(), Phase::Watching(_));
    if gates != rollout.due_gates().len() && !watched {
        return fail("other gates are named than are waited for");
    }
    if holds.iter().any(|hold| hold.since > now || hold.what.is_empty() || hold.then.is_empty()) {
        return fail("a hold is not whole");
    }
    let named: Vec<HostId> = holds.iter().flat_map(|hold| hold.hosts.iter().copied()).collect();
    let once: BTreeSet<HostId> = named.iter().copied().collect();
    if once.len() != named.len() {
        return fail("a host is in two holds");
    }
    if awaited(rollout).is_some_and(|awaited| awaited != once) {
        return fail("other hosts are named than are waited for");
    }
    let wrong = holds.iter().find(|hold| !answered(rollout, hold.kind, now))?;
    fail(&format!("what {:?} asks for does not help", wrong.kind))
}

/// The hosts that a phase waits for, where it waits for hosts.
fn awaited(rollout: &Rollout) -> Option<BTreeSet<HostId>> {
    let of = |fits: &dyn Fn(&crate::rollout::HostProgress) -> bool| {
        Some(rollout.hosts.iter().filter(|(_, host)| fits(host)).map(|(id, _)| *id).collect())
    };
    match rollout.phase() {
        Phase::Staging(staging) => of(&|host| host.wave == staging.wave && host.is_staging()),
        Phase::Switching(switching) => of(&|host| rollout.awaits(switching.wave, host)),
        Phase::RollingBack(_) => of(&|host| rollout.awaits_back(host)),
        Phase::Ready
        | Phase::Baking(_)
        | Phase::Gating(_)
        | Phase::Awaiting(_)
        | Phase::Watching(_)
        | Phase::Paused(_)
        | Phase::Done(_) => None,
    }
}

fn promote(reason: &str) -> Event {
    Event::Promote(Promote { by: "ann".to_owned(), reason: reason.to_owned(), full: false })
}

/// The act that a hold's command stands for is accepted, and the hold is gone afterwards.
fn answered(rollout: &Rollout, kind: HoldKind, now: Millis) -> bool {
    let event = match kind {
        HoldKind::NotStarted => Event::Start,
        HoldKind::Baking | HoldKind::Promotion => promote(""),
        // The world answers a gate; where its command is to go past it, that works.
        HoldKind::Gate => return true,
        HoldKind::GateNotPassed => {
            let past = step(rollout, promote("seen"), now);
            let again = step(rollout, Event::Resume, now);
            return past.or(again).is_ok_and(|transition| transition.next.phase() != rollout.phase());
        }
        HoldKind::Watching => promote("seen"),
        HoldKind::Paused | HoldKind::EnvironmentFailures | HoldKind::NoProgress => Event::Resume,
        HoldKind::Withdrawn => Event::Abort { by: "ann".to_owned() },
        HoldKind::VersionFailures => Event::Rollback { by: "ann".to_owned() },
        HoldKind::Staging
        | HoldKind::Switching
        | HoldKind::NoSlot
        | HoldKind::Balancer
        | HoldKind::Unknown
        | HoldKind::Held
        | HoldKind::RollingBack
        | HoldKind::Drained
        | HoldKind::Rejoining
        | HoldKind::Closed => return true, // hosts and time answer these
    };
    step(rollout, event, now).is_ok_and(|transition| transition.next.phase() != rollout.phase())
}

/// Every kind of hold comes up, and says its sentence.
#[test]
fn every_hold_has_its_sentence() {
    let mut seen = BTreeSet::new();
    for (seed, strategy) in (0..).zip(walk::STRATEGIES.iter().cycle().take(240)) {
        let mut dice = walk::Dice(seed);
        let mut play = Play::new(&format!("{} | {strategy}", walk::FLEETS[dice.below(walk::FLEETS.len())]));
        let names = walk::names(&play);
        for _ in 0..60 {
            let holds = explain(&play.rollout, &Facts::default());
            seen.extend(holds.iter().map(|hold| hold.kind));
            play.act("start");
            play.act(&walk::random_line(&mut dice, &names));
        }
        play.act("withdrawn");
        seen.extend(explain(&play.rollout, &Facts::default()).iter().map(|hold| hold.kind));
    }
    let of_operators = [HoldKind::Drained, HoldKind::Rejoining]; // the rollout itself does not know of them
    assert_eq!(seen, HoldKind::ALL.into_iter().filter(|kind| !of_operators.contains(kind)).collect());
}

/// Whoever asks why a host behind balancers gets nothing is told, also when the rollout is over; of a host that gets its
/// connections again nothing is told.
#[test]
fn hosts_that_balancers_pass_over_have_their_sentence() {
    let mut play = Play::new(
        "a b lb | traffic.director=haproxy traffic.backend=shop traffic.drain=5s traffic.hold=30s balancers=",
    );
    for line in ["start", "a b unchanged", "lb directed", "a drained", "lb directed"] {
        play.act(line);
    }
    let first = *play.rollout.hosts.keys().next().expect("there are two");
    let why = |play: &Play, benched: Benched| {
        let facts = Facts { benched: [(first, benched)].into(), ..Facts::default() };
        explain(&play.rollout, &facts).pop()
    };
    let drained = Benched::Drained { by: "ann".to_owned(), reason: "disk swap".to_owned(), since: 1 };
    let hold = why(&play, drained.clone()).expect("it is told");
    assert_eq!(hold.what, "load balancers send a nothing: drained by ann: disk swap");
    assert_eq!((hold.owner.as_str(), hold.until), ("ann", None));
    assert_eq!(hold.command.as_deref(), Some("longshore host undrain a"));
    let hold =
        why(&play, Benched::Rejoining { by: "ann".to_owned(), since: 1, until: 9 }).expect("it is told");
    assert_eq!(hold.what, "ann undrained a: load balancers send it nothing before shop is healthy there");
    assert_eq!((hold.until, hold.then.as_str()), (Some(9), "it is drained again"));
    play.act("a undrained");
    assert_eq!(why(&play, drained), None);
}

/// A bake or watch whose time is over ends after one more look at its hosts: nothing waits without a reason.
#[test]
fn a_last_look_has_its_sentence() {
    let mut play = Play::new("a b | watch=6s");
    for line in ["start", "a b staged", "a b healthy"] {
        play.act(line);
    }
    assert_eq!(look_every(&play.rollout), Span::millis(1_500), "a quarter of the watch");
    let end = next_deadline(&play.rollout).expect("the watch ends");
    assert_eq!(last_look(&play.rollout, None, end - 1), None);
    let look = last_look(&play.rollout, None, end).expect("its time is over");
    assert_eq!(look.since, end);
    assert_eq!(last_look(&play.rollout, Some(look), look.until), None, "it is not waited for ever");
    let facts = Facts { last_look: Some(look), ..Facts::default() };
    let hold = explain(&play.rollout, &facts).remove(0);
    assert_eq!(
        hold.what,
        "every wave is done; 2 is watched for 6s; that time is over, and its hosts are looked at once more"
    );
    assert_eq!(hold.until, Some(look.until));
    assert_eq!(hold.owner, "the time to pass", "no operator is waited for");
    assert_eq!(
        hold.then,
        "hosts that could not be looked at have failed; within the budget, the rollout has succeeded"
    );
    play.act("a b silent");
    assert_eq!(last_look(&play.rollout, None, end), None, "there is nobody to look at");
}

/// Nobody may have been there when the time was over, as where a controller was down: the look is made when somebody is,
/// however late, and has its whole time then.
#[test]
fn a_last_look_is_made_however_late_it_is() {
    for setup in ["a b | watch=6s", "a b | bake=6s"] {
        let mut play = Play::new(setup);
        for line in ["start", "a b staged", "a b healthy"] {
            play.act(line);
        }
        let end = next_deadline(&play.rollout).expect("it ends");
        let late = end + Span::secs(3 * 3600).as_ms();
        let look = last_look(&play.rollout, None, late).expect("nobody has looked");
        assert_eq!(look, LastLook { since: end, until: late + Span::secs(120).as_ms() }, "{setup}");
        assert_eq!(last_look(&play.rollout, Some(look), late + 1), Some(look), "it goes on: {setup}");

        let stays = step_in_look(&play.rollout, Event::Tick, look, late).expect("a fact").next;
        assert_eq!(stays.phase(), play.rollout.phase(), "{setup}");
        let pause = Event::Pause { by: "ann".to_owned() };
        let paused = step_in_look(&play.rollout, pause, look, late).expect("it may be paused").next;
        let Phase::Paused(paused) = paused.phase() else { panic!("{:?}", paused.phase()) };
        assert_eq!(paused.since, late, "{setup}");
        let left = Phase::from(paused.inside.clone()).deadline();
        assert_eq!(left, Some(late + 1), "on resume it is looked at again: {setup}");
        let over = step(&play.rollout, Event::Tick, late).expect("a fact").next;
        assert_ne!(over.phase(), play.rollout.phase(), "{setup}");
    }
}

/// Why hosts go back is said once, however many things that waits for.
#[test]
fn what_turned_it_back_is_said_once() {
    let mut play = Play::new("a b | max_unavailable=1 bake=1h");
    for line in ["start", "a b staged", "a healthy", "b healthy", "rollback"] {
        play.act(line);
    }
    let holds = explain(&play.rollout, &Facts::default());
    let what: Vec<&str> = holds.iter().map(|hold| hold.what.as_str()).collect();
    assert!(what.len() > 1 && what.iter().all(|what| what.starts_with("rolling back")), "{what:#?}");
    assert_eq!(what.iter().filter(|what| what.contains("by ann")).count(), 1, "{what:#?}");
}

/// Progress that hosts tell makes its way into the sentence.
#[test]
fn a_hold_tells_what_hosts_do() {
    let mut play = Play::new("a b");
    play.act("start");
    let first = *play.rollout.hosts.keys().next().expect("there are two");
    let facts = Facts { doing: [(first, "fetch, 12 of 67 MiB".to_owned())].into(), ..Facts::default() };
    let holds = explain(&play.rollout, &facts);
    assert_eq!(holds[0].what, "2 hosts stage: a (fetch, 12 of 67 MiB), b");
    assert_eq!(holds[0].owner, "the hosts");
}

/// Of a host whose connection is gone nobody knows how it ends: a deadline does to it what it will be by then.
#[test]
fn a_host_without_a_connection_has_two_ends() {
    let holds = |unknown: &str, unknown_at: Millis| {
        let mut play = Play::new(&format!("a b | unknown={unknown} progress_deadline=10m"));
        for line in ["start", "a b staged", "+1m"] {
            play.act(line);
        }
        let gone = *play.rollout.hosts.keys().last().expect("there are two");
        let facts = Facts { away: [(gone, Away { since: 33_000, unknown_at })].into(), ..Facts::default() };
        explain(&play.rollout, &facts)
    };
    let both = holds("wait", 68_000);
    let what: Vec<&str> = both.iter().map(|hold| hold.what.as_str()).collect();
    assert_eq!(what, ["1 host switches: a", "1 host switches and has no connection: b"]);
    assert_eq!((both[1].since, both[1].until), (33_000, both[0].until));
    assert_eq!(
        both[1].then,
        "if it stayed away (it is unknown after 35s), the rollout pauses and asks; if it came back and is not \
         healthy, the fleet is rolled back"
    );
    assert_eq!(both[0].then, "the fleet is rolled back");
    assert!(holds("count", 68_000)[1].then.contains("35s), that counts as a failure; "));
    let late = holds("wait", 3_600_000);
    assert_eq!(late[1].what, "1 host switches and has no connection: b");
    let then = "if it stayed away (it is unknown then at the latest), the rollout pauses and asks; ";
    assert!(late[1].then.starts_with(then), "the deadline comes before it is silent: {}", late[1].then);
}

/// It is not a lost connection that is to be looked for there, and whoever is told so knows what to type.
#[test]
fn a_host_whose_helper_is_away_is_named_with_where_to_look() {
    let mut play = Play::new("a b | progress_deadline=10m");
    for line in ["start", "a b staged", "+1m"] {
        play.act(line);
    }
    let gone = *play.rollout.hosts.keys().last().expect("there are two");
    let facts = Facts {
        away: [(gone, Away { since: 33_000, unknown_at: 68_000 })].into(),
        helper_away: [(gone, "LS-C01 the helper does not answer".to_owned())].into(),
        ..Facts::default()
    };
    let said = |play: &Play, facts: &Facts| {
        let holds = explain(&play.rollout, facts);
        let mut told = holds.into_iter().map(|hold| (hold.what, hold.command.unwrap_or_default()));
        told.find(|(what, _)| what.contains("helper")).expect("it is told")
    };
    let told = |play: &Play| said(play, &facts);
    let full = "LS-D01 the helper does not answer: no space is left on the disk of `/var/lib/longshore`";
    let of_disk = Facts { helper_away: [(gone, full.to_owned())].into(), ..facts.clone() };
    let what = format!("1 host switches and has no connection: b; on b: {full}");
    assert_eq!(said(&play, &of_disk), (what, "df -h".to_owned()));
    let look = "systemctl status longshore-helper.socket longshore-helper.service".to_owned();
    let what = "1 host switches and has no connection: b; the helper does not answer on b, look there";
    assert_eq!(told(&play), (what.to_owned(), look.clone()));
    play.act("b silent");
    let what = "1 host is unknown: b; the helper does not answer on b, look there";
    assert_eq!(told(&play), (what.to_owned(), look));
    let others = explain(&play.rollout, &facts).into_iter().filter(|hold| !hold.what.contains("helper"));
    assert!(others.count() > 0, "nothing of it is said of a");
}

/// A host that nobody can reach need not keep the others waiting.
#[test]
fn whoever_waits_for_an_unknown_host_is_told_how_to_go_on_without_it() {
    let mut play = Play::new("a b c | progress_deadline=10m");
    for line in ["start", "a b c staged", "b silent", "a c healthy"] {
        play.act(line);
    }
    let holds = explain(&play.rollout, &Facts::default());
    let hold = holds.iter().find(|hold| hold.kind == HoldKind::Unknown).expect("b is waited for");
    let id = play.rollout.header.id.short();
    let wanted =
        format!("the rollout pauses and asks; to go on without it: longshore rollout exclude {id} b");
    assert_eq!(hold.then, wanted);
}

/// Nobody is told to undo what goes back already.
#[test]
fn a_pause_says_how_to_undo_only_what_goes_forward() {
    let then = |turn: &str| {
        let mut play = Play::new("a b | max_unavailable=1 bake=1h");
        for line in ["start", "a b staged", "a healthy", turn, "pause"] {
            play.act(line);
        }
        let holds = explain(&play.rollout, &Facts::default());
        holds.into_iter().find(|hold| hold.kind == HoldKind::Paused).expect("it is paused").then
    };
    assert!(then("+1s").contains("where it was; or undo it: longshore rollout rollback "), "{}", then("+1s"));
    assert_eq!(then("rollback"), "on resume it goes on where it was");
}

/// Who paused it is no reason to keep quiet about a balancer.
#[test]
fn a_balancer_that_refuses_is_named_in_a_pause() {
    let mut play = Play::new(ROLLING);
    for line in ["start", "a staged", "lb directed", "lb away", "pause"] {
        play.act(line);
    }
    let explained = play.explained();
    let paused = "paused by ann while switching in the first of 2 waves; balancers have not directed traffic: \
                  lb (HAProxy cannot be asked) [";
    assert!(explained.contains(paused), "{explained}");
}

/// Whoever may not promote is told whom the wave waits for.
#[test]
fn a_host_that_joins_is_named_to_whoever_promotes() {
    let mut play = Play::new(ROLLING);
    for line in ["start", "a staged", "lb directed", "lb directed", "a healthy"] {
        play.act(line);
    }
    assert_eq!(play.act("promote"), "refused: the first of 2 waves is not healthy: a is joining");
}

/// No wave begins that nobody is in any more.
#[test]
fn a_wave_of_nobody_is_not_announced() {
    let mut play = Play::new("a b c | wave=1 bake=10s");
    for line in ["start", "a staged", "a healthy", "+10s", "b staged", "b healthy"] {
        play.act(line);
    }
    let then = |play: &Play| explain(&play.rollout, &Facts::default()).remove(0).then;
    assert_eq!(then(&play), "wave 3 of 3 begins");
    play.act("c left");
    assert_eq!(
        then(&play),
        "what follows the last wave comes next, for nobody is left in the waves behind it"
    );
}

/// Of a host that cannot be looked at it is said why.
#[test]
fn a_last_look_names_who_has_no_connection() {
    let mut play = Play::new("a b | canary=1 canary_bake=6s");
    for line in ["start", "a staged", "a healthy"] {
        play.act(line);
    }
    let end = next_deadline(&play.rollout).expect("the bake ends");
    let first = *play.rollout.hosts.keys().next().expect("there are two");
    let facts = Facts {
        last_look: last_look(&play.rollout, None, end),
        away: [(first, Away { since: 1, unknown_at: 9 })].into(),
        ..Facts::default()
    };
    let what = explain(&play.rollout, &facts).remove(0).what;
    assert!(what.ends_with("its hosts are looked at once more; no connection: a"), "{what}");
}
