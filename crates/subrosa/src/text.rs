//! Figures as people read them.

use std::time::Duration;

/// `1234567` as `1,234,567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// `1 sample`, `1,000 samples`.
pub fn counted(n: usize, noun: &str) -> String {
    format!("{} {noun}{}", thousands(n as u64), if n == 1 { "" } else { "s" })
}

/// Bytes in B, kB, MB or GB (powers of ten), three significant digits.
pub fn bytes(n: f64) -> String {
    scaled(n, &["B", "kB", "MB", "GB", "TB"])
}

/// Milliseconds as us, ms or s, three significant digits.
pub fn millis(ms: f64) -> String {
    // What would round to a thousand of a unit is one of the next.
    match ms {
        ms if ms > 0.0 && ms < 0.9995 => format!("{} us", significant(ms * 1e3)),
        ms if ms < 999.5 => format!("{} ms", significant(ms)),
        ms => format!("{} s", significant(ms / 1e3)),
    }
}

/// A power of ten of milliseconds, for axes: `10 us`.
pub(crate) fn millis_round(ms: f64) -> String {
    match ms {
        ms if ms < 0.9 => format!("{:.0} us", (ms * 1e3).max(1.0)),
        ms if ms < 900.0 => format!("{ms:.0} ms"),
        ms => format!("{:.0} s", ms / 1e3),
    }
}

/// A power of ten of bytes, for axes: `10 kB`.
pub(crate) fn bytes_round(n: f64) -> String {
    match n {
        n if n < 900.0 => format!("{n:.0} B"),
        n if n < 900e3 => format!("{:.0} kB", n / 1e3),
        n if n < 900e6 => format!("{:.0} MB", n / 1e6),
        n => format!("{:.0} GB", n / 1e9),
    }
}

/// `text` broken at spaces into lines that end before column `width`. It begins at column
/// `indent`, and so does every further line; a word that fits nowhere stands alone.
pub fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut out = String::new();
    let mut column = indent;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if out.is_empty() {
            column += length;
        } else if column + 1 + length > width {
            out += &format!("\n{}", " ".repeat(indent));
            column = indent + length;
        } else {
            out.push(' ');
            column += 1 + length;
        }
        out += word;
    }
    out
}

/// A duration, as [`millis`].
pub fn duration(d: Duration) -> String {
    millis(d.as_secs_f64() * 1e3)
}

/// A share as a percentage with two decimals.
pub fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// Three significant digits, no exponent, thousands separated.
pub fn significant(x: f64) -> String {
    let magnitude = x.abs();
    match magnitude {
        m if m >= 999.5 => thousands(x.round().max(0.0) as u64),
        m if m >= 99.95 => format!("{x:.0}"),
        m if m >= 9.995 => format!("{x:.1}"),
        m if m >= 0.01 || m == 0.0 => format!("{x:.2}"),
        _ => format!("{x:.1e}"),
    }
}

fn scaled(n: f64, units: &[&str]) -> String {
    let mut value = n;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1e3;
        unit += 1;
    }
    let figure = if unit == 0 { format!("{value:.0}") } else { significant(value) };
    format!("{figure} {}", units.get(unit).unwrap_or(&""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!((counted(1, "round"), counted(2000, "round")), ("1 round".into(), "2,000 rounds".into()));
        assert_eq!(bytes(0.0), "0 B");
        assert_eq!(bytes(1234.0), "1.23 kB");
        assert_eq!(bytes(4.56e9), "4.56 GB");
        assert_eq!(millis(0.0123), "12.3 us");
        assert_eq!(millis(7.891), "7.89 ms");
        assert_eq!(millis(1500.0), "1.50 s");
        assert_eq!([0.9994, 0.9996, 999.4, 999.6].map(millis), ["999 us", "1.00 ms", "999 ms", "1.00 s"]);
        assert_eq!(percent(0.9869), "98.69 %");
        assert_eq!(significant(12345.6), "12,346");
    }

    #[test]
    fn text_is_broken_at_spaces() {
        assert_eq!(wrap("one two three", 9, 2), "one two\n  three");
        assert_eq!(wrap("extraordinary", 4, 2), "extraordinary");
        assert_eq!(wrap("", 4, 2), "");
    }

    #[test]
    fn axes_read_well() {
        assert_eq!([0.01, 1.0, 1000.0].map(millis_round), ["10 us", "1 ms", "1 s"]);
        assert_eq!([1.0, 1e4, 1e6, 1e9].map(bytes_round), ["1 B", "10 kB", "1 MB", "1 GB"]);
    }
}
