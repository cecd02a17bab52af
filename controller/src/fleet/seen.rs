//! How an app stands on a connected host, kept up with what the host reports: its hello tells it only once.

use longshore_common::report::{Outcome, Report};

use super::words::{AppSeen, DeployedThere};

impl AppSeen {
    /// With a report added; None when nothing of the app is left.
    pub(super) fn after(known: Option<AppSeen>, report: &Report) -> Option<AppSeen> {
        let live = report.live.as_ref();
        let mut seen = known.unwrap_or_else(|| AppSeen {
            app: report.app.clone(),
            generation: report.generation,
            current_slot: String::new(),
            release: String::new(),
            version: String::new(),
            running: false,
            slots: vec![],
            failed_slots: vec![],
            verdict: String::new(),
            local: None,
            sides: vec![],
        });
        seen.generation = seen.generation.max(report.generation);
        seen.local = match (&report.by, seen.local) {
            (Some(by), _) => Some(DeployedThere { by: by.clone(), at_ms: report.time_ms }),
            // A refusal leaves what is there.
            (None, local) if matches!(report.outcome, Outcome::Refused { .. }) => local,
            (None, _) => None,
        };
        let slot = live.map(ToString::to_string).unwrap_or_default();
        if slot != seen.current_slot {
            seen.version = live.map(|slot| slot.version().to_owned()).unwrap_or_default();
            seen.release = String::new(); // which release lies in that slot is known below, or at the next hello
        }
        if !slot.is_empty() && !seen.slots.contains(&slot) {
            seen.slots.push(slot.clone());
        }
        seen.current_slot = slot;
        match &report.outcome {
            Outcome::Healthy | Outcome::Unchanged => {
                seen.release = report.release.hex();
                seen.failed_slots.retain(|failed| *failed != seen.current_slot);
                seen.running = true;
                seen.verdict = "healthy".to_owned();
            }
            Outcome::Reverted { .. } => {
                seen.running = true;
                seen.verdict = "healthy".to_owned();
            }
            Outcome::Inconsistent { .. } => seen.verdict = "unhealthy".to_owned(),
            Outcome::Removed => return None,
            Outcome::Staged | Outcome::Failed { .. } | Outcome::Refused { .. } => {}
        }
        Some(seen)
    }
}

#[cfg(test)]
mod tests {
    use longshore_common::{
        code::Code,
        digest::ReleaseDigest,
        ids::Generation,
        report::{Blame, Failure, StepName},
    };

    use super::*;

    fn report(round: u16, live: &str, outcome: Outcome) -> Report {
        Report {
            app: "shop".parse().unwrap(),
            rollout: "0193f3a0-0000-7000-8000-000000000001".parse().unwrap(),
            generation: Generation::new(1, round),
            release: ReleaseDigest::of(b"manifest"),
            time_ms: 0,
            outcome,
            live: (!live.is_empty()).then(|| live.parse().unwrap()),
            by: None,
        }
    }

    #[test]
    fn what_a_host_reports_is_how_its_app_stands() {
        let staged = AppSeen::after(None, &report(1, "", Outcome::Staged)).unwrap();
        assert_eq!((staged.version.as_str(), staged.running), ("", false));

        let healthy = AppSeen::after(Some(staged), &report(2, "1.0-00000001", Outcome::Healthy)).unwrap();
        assert_eq!(
            (healthy.version.as_str(), healthy.running, healthy.verdict.as_str()),
            ("1.0", true, "healthy")
        );
        assert_eq!(healthy.release, ReleaseDigest::of(b"manifest").hex());

        let failure = Failure::new(Code::B01, StepName::Probe, Blame::Version, "no");
        let back = Outcome::Reverted {
            failure,
            to_slot: "0.9-00000002".parse().unwrap(),
            to_version: "0.9".parse().unwrap(),
        };
        let reverted = AppSeen::after(Some(healthy), &report(3, "0.9-00000002", back)).unwrap();
        assert_eq!((reverted.version.as_str(), reverted.release.as_str()), ("0.9", ""));
        let by_hand = Report { by: Some("ann".into()), ..report(3, "1.2-00000003", Outcome::Healthy) };
        let local = AppSeen::after(Some(reverted.clone()), &by_hand).unwrap();
        assert_eq!(local.local.as_ref().unwrap().by, "ann");
        let held = Outcome::Refused {
            failure: Failure::new(Code::P01, StepName::Check, Blame::Environment, "held"),
        };
        let refused = AppSeen::after(Some(local), &report(4, "1.2-00000003", held)).unwrap();
        assert!(refused.local.is_some(), "what is refused changes nothing");
        let assigned = AppSeen::after(Some(refused), &report(5, "1.3-00000004", Outcome::Healthy)).unwrap();
        assert_eq!(assigned.local, None);
        assert_eq!(AppSeen::after(Some(reverted), &report(4, "", Outcome::Removed)), None);
    }
}
