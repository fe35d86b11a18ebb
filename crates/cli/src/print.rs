//! Standard output and standard error; neither panics when its reader is gone.

use crate::failure::Result;
use comfy_table::CellAlignment;
pub(crate) use comfy_table::CellAlignment::{Left, Right};
use comfy_table::{ContentArrangement, LineStyle, Table, TableStyle};
use std::io::{self, IsTerminal, Write};

/// Writes text to standard output.
pub(crate) fn out(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Writes a value as JSON to standard output.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<()> {
    out(&(serde_json::to_string_pretty(value)? + "\n"))
}

/// Writes a line to standard error.
pub(crate) fn log(line: &str) {
    // Nobody is left to be told of a failure here.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// A colour of the terminal.
#[derive(Clone, Copy)]
pub(crate) enum Colour {
    Green,
    Yellow,
    Red,
}

/// `text` in colour, if standard output is a terminal and `NO_COLOR` is not set.
pub(crate) fn coloured(text: &str, colour: Colour) -> String {
    let wanted = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let code = match colour {
        Colour::Green => 32,
        Colour::Yellow => 33,
        Colour::Red => 31,
    };
    if wanted { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
}

const TABLE: TableStyle = TableStyle::new().top_border(RULE).header_separator(RULE).bottom_border(RULE);
const RULE: LineStyle = LineStyle::none().fill('─').junction('─');

/// A table whose columns are flush left or right as `columns` says.
pub(crate) fn table(columns: &[(&str, CellAlignment)], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(TABLE).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    table.add_rows(rows);
    for (column, (_, alignment)) in table.column_iter_mut().zip(columns) {
        column.set_cell_alignment(*alignment);
    }
    table.trim_fmt() + "\n"
}
