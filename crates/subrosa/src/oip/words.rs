//! What an error repeats of a message.

/// The first 64 characters of a client's words, and none that steers a terminal: a name may be as
/// long as a message.
pub fn words(said: &str) -> String {
    let mut out: String = said.chars().take(MOST).flat_map(char::escape_debug).collect();
    if said.chars().nth(MOST).is_some() {
        out.push_str("...");
    }
    out
}

const MOST: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_words_are_repeated() {
        assert_eq!(words("x"), "x");
        assert_eq!(words("a\x1b[2J\n"), "a\\u{1b}[2J\\n");
        assert_eq!(words(&"\u{e9}".repeat(64)), "\u{e9}".repeat(64));
        assert_eq!(words(&"\u{e9}".repeat(65)), "\u{e9}".repeat(64) + "...");
        assert!(words(&"\u{10ffff}".repeat(1 << 20)).len() < 1 << 10);
    }
}
