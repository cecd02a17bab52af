//! Why a helper that should be there is not, as far as that can be told from outside.

use std::path::Path;

use longshore_common::{
    code::{Code, Coded},
    durable::free_bytes,
};

/// With less than this the helper may not start: it writes its state anew before it does anything, so that nothing is ever
/// torn. That takes some hundred KiB on a host with many apps.
const ROOM: u64 = 1 << 20;

/// Where there are two processes and one is not there.
pub(crate) fn away() -> Coded {
    let message = "the helper does not answer; what runs goes on. On this host: systemctl status \
                   longshore-helper.socket longshore-helper.service";
    Coded::new(Code::C01, message)
}

/// The same, where it keeps its state below `data`.
pub(super) fn away_over(data: &Path) -> Coded {
    of_room(data, free_bytes(data).ok())
}

/// `None`: that cannot be told.
fn of_room(data: &Path, free: Option<u64>) -> Coded {
    match free {
        Some(free) if free < ROOM => {
            let message = format!(
                "the helper does not answer: no space is left on the disk of `{}` ({free} bytes free; it takes {ROOM} to \
                 start). What runs goes on. Free space there: the helper is started again by itself",
                data.display()
            );
            Coded::new(Code::D01, message)
        }
        Some(_) | None => away(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_without_room_for_its_state_points_to_the_disk() {
        let why = |free| of_room(Path::new("/var/lib/longshore"), free);
        let full = why(Some(0));
        assert_eq!(full.code, Code::D01);
        let said =
            "no space is left on the disk of `/var/lib/longshore` (0 bytes free; it takes 1048576 to start)";
        assert!(full.message.contains(said), "{full}");
        for other in [Some(ROOM), None] {
            assert_eq!(why(other), away());
        }
    }
}
