//! Where file systems are mounted, from `/proc/self/mountinfo`.

use std::fs;

/// Whether something is mounted at exactly this path.
pub fn is_mounted(path: &str) -> bool {
    lists(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(), path)
}

fn lists(mountinfo: &str, path: &str) -> bool {
    mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).any(|point| unescape(point) == path)
}

/// Space, tab, newline and backslash are written `\040` and so on.
fn unescape(point: &str) -> String {
    let mut text = String::new();
    let mut parts = point.split('\\');
    text.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                text.push(char::from(code));
                text.push_str(&part[3..]);
            }
            None => text.push_str(part),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_their_path() {
        let table =
            "36 35 98:0 / /srv/my\\040data rw - ext4 /dev/sda rw\n37 35 0:5 / /proc rw - proc proc rw\n";
        for (path, mounted) in [("/srv/my data", true), ("/proc", true), ("/srv", false), ("/proc/", false)] {
            assert_eq!(lists(table, path), mounted, "{path}");
        }
        assert!(is_mounted("/proc") && !is_mounted("/no/such/mount"));
    }
}
