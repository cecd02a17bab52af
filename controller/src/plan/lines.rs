//! Two texts, line by line, as `diff -u` shows them. Small on purpose: for config templates, which people read.

use std::fmt::Write as _;

/// Lines that are compared of each text once its equal ends are taken off; the table has their product of cells.
const COMPARED_MAX: usize = 600;
/// Lines that are shown.
const SHOWN_MAX: usize = 200;
/// Equal lines around a difference.
const CONTEXT: usize = 2;
/// Characters of a line.
const LINE_CHARS: usize = 200;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Same,
    Gone,
    New,
}

/// Empty when the texts are equal, or too different to be read.
pub(super) fn unified(before: &str, after: &str) -> Vec<String> {
    let (before, after): (Vec<&str>, Vec<&str>) = (before.lines().collect(), after.lines().collect());
    if before == after {
        return vec![];
    }
    let Some(script) = script(&before, &after) else { return vec![] };
    hunks(&script)
}

/// Every line of both, in order. `None`: more than anybody wants compared.
fn script<'a>(before: &[&'a str], after: &[&'a str]) -> Option<Vec<(Mark, &'a str)>> {
    let head = before.iter().zip(after).take_while(|(a, b)| a == b).count();
    let (old, new) = (&before[head..], &after[head..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);
    if old.len() > COMPARED_MAX || new.len() > COMPARED_MAX {
        return None;
    }
    let mut script: Vec<(Mark, &str)> = before[..head].iter().map(|line| (Mark::Same, *line)).collect();
    script.extend(middle(old, new));
    script.extend(before[before.len() - tail..].iter().map(|line| (Mark::Same, *line)));
    Some(script)
}

/// By the longest common subsequence.
fn middle<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<(Mark, &'a str)> {
    let width = new.len() + 1;
    let mut longest = vec![0u16; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            longest[i * width + j] = if old[i] == new[j] {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j, mut marked) = (0, 0, vec![]);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            marked.push((Mark::Same, old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len()
            || (i < old.len() && longest[(i + 1) * width + j] >= longest[i * width + j + 1])
        {
            marked.push((Mark::Gone, old[i]));
            i += 1;
        } else {
            marked.push((Mark::New, new[j]));
            j += 1;
        }
    }
    marked
}

fn hunks(script: &[(Mark, &str)]) -> Vec<String> {
    let near = |at: usize| {
        let from = at.saturating_sub(CONTEXT);
        script[from..script.len().min(at + CONTEXT + 1)].iter().any(|(mark, _)| *mark != Mark::Same)
    };
    let mut shown: Vec<String> = vec![];
    let (mut new_line, mut open) = (1, false);
    for (at, (mark, line)) in script.iter().enumerate() {
        let is_near = near(at);
        if is_near && !open {
            let mut place = String::new();
            write!(place, "@ line {new_line}").expect("writing to a string never fails");
            shown.push(place);
        }
        open = is_near;
        if is_near {
            let sign = match mark {
                Mark::Same => ' ',
                Mark::Gone => '-',
                Mark::New => '+',
            };
            shown.push(format!("{sign}{}", line.chars().take(LINE_CHARS).collect::<String>()));
        }
        new_line += usize::from(*mark != Mark::Gone);
        if shown.len() >= SHOWN_MAX {
            let left = script.len() - at - 1;
            shown.push(format!("@ {left} lines more are not shown"));
            break;
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_stand_among_a_little_of_what_is_equal() {
        let before = "a\nb\nc\nd\ne\nf\ng\n";
        let after = "a\nb\nc\nD\ne\nf\ng\nh\n";
        assert_eq!(unified(before, after), ["@ line 2", " b", " c", "-d", "+D", " e", " f", " g", "+h"]);
        assert!(unified(before, before).is_empty());
        assert_eq!(unified("", "x\n"), ["@ line 1", "+x"]);
        assert_eq!(unified("x\n", ""), ["@ line 1", "-x"]);
    }

    #[test]
    fn far_apart_differences_have_a_place_each() {
        let before: Vec<String> = (0..40).map(|n| n.to_string()).collect();
        let mut after = before.clone();
        after[3] = "three".into();
        after.remove(30);
        let shown = unified(&before.join("\n"), &after.join("\n"));
        assert_eq!(shown.iter().filter(|line| line.starts_with('@')).count(), 2, "{shown:?}");
        assert!(shown.contains(&"+three".to_owned()) && shown.contains(&"-30".to_owned()), "{shown:?}");
    }

    #[test]
    fn what_nobody_could_read_is_not_shown() {
        let other = |word: &str| (0..700).map(|n| format!("{word}{n}\n")).collect::<String>();
        assert!(unified(&other("a"), &other("b")).is_empty());
        let half = |word: &str| (0..300).map(|n| format!("{word}{n}\n")).collect::<String>();
        assert!(unified(&half("a"), &half("b")).len() <= SHOWN_MAX + 1);
    }
}
