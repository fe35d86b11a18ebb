//! Dates as text and as seconds since 1970, both in UTC.

/// Seconds since 1970 of a date such as `2025-06-19T10:56:11Z`.
pub fn seconds(text: &str) -> Option<u64> {
    let digits = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let (year, month, day) = (digits(0..4)?, digits(5..7)?, digits(8..10)?);
    let (hour, minute, second) = (digits(11..13)?, digits(14..16)?, digits(17..19)?);
    let marks = [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":"), (19, "Z")];
    let form = text.len() == 20 && marks.iter().all(|(at, mark)| text.get(*at..*at + 1) == Some(mark));
    let sane = (1970..10_000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !form || !sane || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Years that begin in March, which puts the leap day last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1;
    Some(days.checked_sub(DAYS_BEFORE_1970)? * 86_400 + hour * 3600 + minute * 60 + second)
}

/// The date of a second since 1970, as `2025-06-19T10:56:11Z`; far ones are the end of 9999.
pub fn text(seconds: u64) -> String {
    let seconds = seconds.min(253_402_300_799);
    let (days, rest) = (seconds / 86_400 + DAYS_BEFORE_1970, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let y = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * y + y / 4 - y / 100);
    let m = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * m + 2) / 5 + 1, if m < 10 { m + 3 } else { m - 9 });
    let year = era * 400 + y + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// From 0000-03-01 to 1970-01-01.
const DAYS_BEFORE_1970: u64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_are_read_as_the_calendar_has_them() {
        // From `date -u -d ... +%s`.
        for (date, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2024-02-29T12:34:56Z", Some(1_709_210_096)),
            ("2025-06-19T10:56:11Z", Some(1_750_330_571)),
            ("2100-03-01T00:00:00Z", Some(4_107_542_400)),
            ("2025-13-01T00:00:00Z", None),
            ("2025-06-19 10:56:11Z", None),
            ("2025-06-19T10:56:11", None),
            ("é025-06-19T10:56:1Z", None),
        ] {
            assert_eq!(seconds(date), expected, "{date}");
            assert!(expected.is_none_or(|s| text(s) == date), "{date}");
        }
        assert_eq!(text(u64::MAX), "9999-12-31T23:59:59Z");
    }

    proptest! {
        #[test]
        fn text_and_seconds_are_inverse(s in 0..253_402_300_799u64) {
            prop_assert_eq!(seconds(&text(s)), Some(s));
        }

        #[test]
        fn no_text_panics(s in ".{0,24}") {
            let _ = seconds(&s);
        }
    }
}
