//! One JSON object a line on standard error: names, sizes and times, never a value.

use serde::Serialize;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// A line.
#[derive(Serialize)]
struct Line<'a, T> {
    /// Seconds since 1970.
    time: f64,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<&'static str>,
    #[serde(flatten)]
    fields: &'a T,
}

/// A request and what became of it.
#[derive(Serialize)]
pub(crate) struct Request<'a> {
    pub(crate) endpoint: &'static str,
    /// Only of models that there are: a client's words are not repeated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<u64>,
    pub(crate) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) samples: Option<usize>,
    pub(crate) bytes_in: usize,
    pub(crate) bytes_out: usize,
    pub(crate) ms: f64,
    /// Where traces are written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trace: Option<String>,
}

/// Writes a line. `warning` is what every line of a simulation says.
pub(crate) fn line(event: &'static str, warning: Option<&'static str>, fields: &impl Serialize) {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    if let Ok(mut text) = serde_json::to_string(&Line { time, event, warning, fields }) {
        text.push('\n');
        // Nobody is left to be told of a failure here.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}
