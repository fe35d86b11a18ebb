//! Spans, as the OTLP JSON lines that an OpenTelemetry collector reads from a file.
//!
//! Every party of a session uses the trace id that its client drew, so that one query
//! shows all of them. Spans name what was done and how long it took; never a value.

use crate::{Error, Result};
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where one party's spans go.
pub(super) struct Tracer {
    party: String,
    file: Option<Mutex<File>>,
}

/// Something that is being done; over when dropped.
pub(super) struct Span<'a> {
    tracer: &'a Tracer,
    trace: [u8; 16],
    id: [u8; 8],
    parent: Option<[u8; 8]>,
    name: &'static str,
    start: SystemTime,
    failed: bool,
}

impl Tracer {
    /// **Errors:** [`Error::Io`] if the file cannot be opened.
    pub(super) fn new(party: &str, path: Option<&Path>) -> Result<Self> {
        let open = |path: &Path| {
            let file = File::options().create(true).append(true).open(path);
            file.map(Mutex::new).map_err(|e| Error::io("write", path, &e))
        };
        Ok(Self { party: party.to_owned(), file: path.map(open).transpose()? })
    }

    /// Begins a span of `trace`.
    pub(super) fn span(&self, trace: &[u8; 16], name: &'static str) -> Span<'_> {
        self.begin(*trace, None, name)
    }

    fn begin(&self, trace: [u8; 16], parent: Option<[u8; 8]>, name: &'static str) -> Span<'_> {
        let mut id = [0; 8];
        if self.file.is_some()
            && let Ok(seed) = subrosa_core::Seed::random()
        {
            id.copy_from_slice(&seed.expose()[..8]);
        }
        Span { tracer: self, trace, id, parent, name, start: SystemTime::now(), failed: false }
    }
}

impl Span<'_> {
    /// Begins a part of this span.
    pub(super) fn child(&self, name: &'static str) -> Span<'_> {
        self.tracer.begin(self.trace, Some(self.id), name)
    }

    /// What was done did not succeed.
    pub(super) fn failed(&mut self) {
        self.failed = true;
    }

    fn line(&self) -> serde_json::Value {
        let nanos = |t: SystemTime| t.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos()).to_string();
        let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
        let mut span = json!({
            "traceId": hex(&self.trace),
            "spanId": hex(&self.id),
            "name": self.name,
            "kind": 1,
            "startTimeUnixNano": nanos(self.start),
            "endTimeUnixNano": nanos(SystemTime::now()),
            "status": {"code": if self.failed { 2 } else { 1 }},
        });
        if let Some(parent) = &self.parent {
            span["parentSpanId"] = hex(parent).into();
        }
        let attributes = [text("service.name", "subrosa"), text("service.instance.id", &self.tracer.party)];
        json!({"resourceSpans": [{
            "resource": {"attributes": attributes},
            "scopeSpans": [{"scope": {"name": "subrosa"}, "spans": [span]}],
        }]})
    }
}

impl Drop for Span<'_> {
    fn drop(&mut self) {
        if let Some(file) = &self.tracer.file {
            let line = format!("{}\n", self.line());
            // A full disk costs traces, not inferences.
            let _ = file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_with_their_trace_and_parent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traces.jsonl");
        let tracer = Tracer::new("hospital", Some(&path)).unwrap();
        let mut session = tracer.span(&[0xab; 16], "session");
        drop(session.child("run"));
        session.failed();
        drop(session);
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let span = |i: usize| &lines[i]["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!((span(0)["name"].as_str(), span(1)["name"].as_str()), (Some("run"), Some("session")));
        assert_eq!(span(0)["traceId"], "ab".repeat(16));
        assert_eq!(span(0)["parentSpanId"], span(1)["spanId"]);
        assert_eq!(span(1)["status"]["code"], 2);
    }
}
