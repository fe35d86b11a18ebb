//! Text from a model file, made fit to print.

use crate::{Error, UnsupportedNode};

/// Longest name that is shown in full.
const NAME: usize = 160;
/// Longest message that is shown in full.
const MESSAGE: usize = 360;

/// A name without control characters (a terminal would obey them) and of sane length.
pub(crate) fn name(text: &str) -> String {
    tidy(text, NAME)
}

/// An error whose texts from the file are fit to print.
pub(crate) fn error(error: Error) -> Error {
    match error {
        Error::Malformed(why) => Error::Malformed(tidy(&why, MESSAGE)),
        Error::Unsupported(nodes) => Error::Unsupported(nodes.into_iter().map(node).collect()),
        other @ (Error::Range { .. } | Error::Domain { .. } | Error::Input(_)) => other,
    }
}

/// As [`error`] for one unsupported node.
pub(crate) fn node(node: UnsupportedNode) -> UnsupportedNode {
    let UnsupportedNode { node, op, why, hint } = node;
    UnsupportedNode { node: name(&node), op: name(&op), why: tidy(&why, MESSAGE), hint }
}

/// Whether [`name`] would leave it as it is.
pub(crate) fn is_tidy(text: &str) -> bool {
    text.len() <= NAME && !text.chars().any(char::is_control)
}

fn tidy(text: &str, most: usize) -> String {
    let mut shown: String = text.chars().take(most).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if shown.len() < text.len() && text.chars().nth(most).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_harmless() {
        assert_eq!(name("/conv1/Conv"), "/conv1/Conv");
        assert_eq!(name("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(name(&"é".repeat(500)).chars().count(), NAME + 1);
        assert!(is_tidy("x") && !is_tidy("x\n") && !is_tidy(&"x".repeat(500)));
    }
}
