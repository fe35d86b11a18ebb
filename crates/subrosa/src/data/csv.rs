//! Tables of numbers.
//!
//! A first line is a header, and skipped, if none of its fields is a number, or if some
//! are not and their number differs from the next line's (scikit-learn's tables begin
//! `569,30,malignant,benign`). A line of which only a part is numeric is otherwise taken
//! for data with a mistake in it: skipping it would lose a sample in silence.

use super::{Array, MAX_VALUES};
use crate::{Error, Result};
use ::csv::{ReaderBuilder, StringRecord};

pub(super) fn parse(bytes: &[u8]) -> Result<Array> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Error::input("it is in no known format", "give .npy, .npz, .png, .csv or idx (also .gz)"))?;
    let text = text.trim_start_matches('\u{feff}');
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(::csv::Trim::All)
        .delimiter(delimiter(text))
        .from_reader(text.as_bytes());
    let mut records = reader.records().map(|r| r.map_err(|e| unreadable(&e)));
    let first = records.next().transpose()?;
    let second = records.next().transpose()?;
    let header = first.as_ref().is_some_and(|first| is_header(first, second.as_ref()));
    let first = first.filter(|_| !header);
    rows(first.into_iter().chain(second).map(Ok).chain(records))
}

fn rows(records: impl Iterator<Item = Result<StringRecord>>) -> Result<Array> {
    let mut values = Vec::new();
    let (mut count, mut columns) = (0, 0);
    for record in records {
        let record = record?;
        columns = if count == 0 { record.len() } else { columns };
        append_row(&mut values, &record, columns)?;
        count += 1;
    }
    if values.is_empty() {
        return Err(Error::input("the table holds no numbers", "give lines of numbers separated by commas"));
    }
    Ok(Array { name: None, dims: vec![count, columns], values })
}

fn unreadable(error: &::csv::Error) -> Error {
    Error::input(format!("the table cannot be read: {error}"), "save it again as comma-separated values")
}

/// Comma, unless the first line has none but a semicolon or tab.
fn delimiter(text: &str) -> u8 {
    let first = text.lines().next().unwrap_or_default();
    if first.contains(',') {
        return b',';
    }
    if first.contains(';') {
        b';'
    } else if first.contains('\t') {
        b'\t'
    } else {
        b','
    }
}

fn is_header(first: &StringRecord, second: Option<&StringRecord>) -> bool {
    let numbers = first.iter().filter(|field| field.parse::<f32>().is_ok()).count();
    let differs = second.is_some_and(|second| second.len() != first.len());
    numbers == 0 || (differs && numbers < first.len())
}

fn append_row(values: &mut Vec<f32>, record: &StringRecord, columns: usize) -> Result<()> {
    let line = record.position().map_or(0, ::csv::Position::line);
    if record.len() != columns {
        let message = format!("line {line} has {} columns where the first has {columns}", record.len());
        return Err(Error::input(message, "give every line the same columns"));
    }
    if values.len() + columns > MAX_VALUES {
        return Err(Error::input("the table is too large", "split it"));
    }
    for (column, field) in record.iter().enumerate() {
        let value = field.parse::<f32>().map_err(|_| not_a_number(line, column, field))?;
        values.push(value);
    }
    Ok(())
}

fn not_a_number(line: u64, column: usize, field: &str) -> Error {
    let shown: String = field.chars().take(20).collect();
    let message = match shown.is_empty() {
        true => format!("line {line}, column {} is empty", column + 1),
        false => format!("line {line}, column {} is no number: '{}'", column + 1, shown.escape_debug()),
    };
    Error::input(message, "give numbers only, missing ones filled in")
}
