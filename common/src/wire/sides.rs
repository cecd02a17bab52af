//! How the two sides of an app stand, as messages.

use longshore_proto::v1 as pb;

use super::{Invalid, parse};
use crate::{report::LINE_BYTES, traffic::SideSeen, wire::cut};

impl From<&SideSeen> for pb::SideState {
    fn from(seen: &SideSeen) -> Self {
        let SideSeen { side, slot, up, share, main, warm_until_ms } = seen;
        pb::SideState {
            side: side.to_string(),
            slot: slot.to_string(),
            up: *up,
            share: share.map(u32::from),
            main_process: main.clone(),
            warm_until_ms: warm_until_ms.unwrap_or_default(),
        }
    }
}

impl TryFrom<pb::SideState> for SideSeen {
    type Error = Invalid;
    fn try_from(message: pb::SideState) -> Result<Self, Invalid> {
        let pb::SideState { side, slot, up, share, main_process, warm_until_ms } = message;
        let share = share.map(|share| u8::try_from(share).ok().filter(|share| *share <= 100));
        let out_of_range = || Invalid::Malformed { field: "side.share", why: "is not 0 to 100".into() };
        Ok(SideSeen {
            side: parse("side.side", &side)?,
            slot: parse("side.slot", &slot)?,
            up,
            share: share.map(|share| share.ok_or_else(out_of_range)).transpose()?,
            main: cut(&main_process, LINE_BYTES),
            warm_until_ms: (warm_until_ms != 0).then_some(warm_until_ms),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::Side;

    #[test]
    fn a_side_survives_the_wire_and_each_field_is_checked() {
        let seen = SideSeen {
            side: Side::Green,
            slot: "1.0-0a1b2c3d".parse().unwrap(),
            up: true,
            share: Some(0),
            main: "longshore-shop-green.service".into(),
            warm_until_ms: Some(7),
        };
        let message = pb::SideState::from(&seen);
        assert_eq!(SideSeen::try_from(message.clone()).unwrap(), seen);
        let spoilt: [fn(&mut pb::SideState); 3] =
            [|m| m.side = "red".into(), |m| m.slot = "../x".into(), |m| m.share = Some(101)];
        for spoil in spoilt {
            let mut message = message.clone();
            spoil(&mut message);
            assert!(SideSeen::try_from(message.clone()).is_err(), "{message:?}");
        }
    }
}
