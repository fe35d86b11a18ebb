//! Spans, as the OTLP JSON lines that an OpenTelemetry collector reads from a file.
//!
//! Every party of a session uses the trace id that its client drew, and a server that of the
//! request ([`Parent`]), so that one query shows all of them. Spans name what was done and how long
//! it took; never a value.

use crate::{Error, Result};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the spans of one program go; clones share it.
#[derive(Clone)]
pub struct Tracer {
    /// None where they go nowhere.
    sink: Option<Arc<Sink>>,
}

struct Sink {
    instance: String,
    file: Mutex<File>,
}

/// Something that is being done; over when dropped.
pub struct Span {
    tracer: Tracer,
    trace: [u8; 16],
    id: [u8; 8],
    parent: Option<[u8; 8]>,
    name: &'static str,
    kind: Kind,
    start: SystemTime,
    failed: bool,
    attributes: Vec<Value>,
}

/// What a request's sender does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    trace: [u8; 16],
    id: [u8; 8],
    sampled: bool,
}

/// As OpenTelemetry counts them.
#[derive(Clone, Copy)]
enum Kind {
    Internal = 1,
    Server = 2,
}

impl Tracer {
    /// Appends to the file at `path`, if there is one, in the name of `instance`.
    ///
    /// **Errors:** [`Error::Io`] if the file cannot be opened.
    pub fn new(instance: &str, path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::off()) };
        let file = File::options().create(true).append(true).open(path).map_err(|e| Error::io("write", path, &e))?;
        Ok(Self { sink: Some(Arc::new(Sink { instance: instance.to_owned(), file: Mutex::new(file) })) })
    }

    /// Writes nothing.
    pub fn off() -> Self {
        Self { sink: None }
    }

    /// Begins a span of `trace`.
    pub fn span(&self, trace: &[u8; 16], name: &'static str) -> Span {
        self.begin(*trace, None, name, Kind::Internal)
    }

    /// Begins the span of a request, under what its sender does, or as a trace of its own. One
    /// whose sender does not record it is not recorded here.
    pub fn request(&self, sender: Option<Parent>, name: &'static str) -> Span {
        match sender {
            Some(Parent { sampled: false, .. }) => Self::off().begin([0; 16], None, name, Kind::Server),
            Some(Parent { trace, id, .. }) => self.begin(trace, Some(id), name, Kind::Server),
            None => self.begin(self.random(), None, name, Kind::Server),
        }
    }

    fn begin(&self, trace: [u8; 16], parent: Option<[u8; 8]>, name: &'static str, kind: Kind) -> Span {
        let (tracer, id) = (self.clone(), self.random());
        Span { tracer, trace, id, parent, name, kind, start: SystemTime::now(), failed: false, attributes: Vec::new() }
    }

    /// Zeros where nothing is written, or without randomness: a span without a name costs nothing
    /// else.
    fn random<const N: usize>(&self) -> [u8; N] {
        let mut id = [0; N];
        if self.sink.is_some()
            && let Ok(seed) = subrosa_core::Seed::random()
        {
            id.iter_mut().zip(seed.expose()).for_each(|(to, from)| *to = *from);
        }
        id
    }
}

impl Span {
    /// Begins a part of this span.
    pub fn child(&self, name: &'static str) -> Span {
        self.tracer.begin(self.trace, Some(self.id), name, Kind::Internal)
    }

    /// What was done did not succeed.
    pub fn failed(&mut self) {
        self.failed = true;
    }

    /// Says more of it, in the words of OpenTelemetry's conventions where it has some.
    pub fn tell(&mut self, key: &'static str, value: &str) {
        self.add(|| text(key, value));
    }

    /// The same of a number.
    pub fn count(&mut self, key: &'static str, value: u64) {
        self.add(|| json!({"key": key, "value": {"intValue": value.to_string()}}));
    }

    /// The trace's id in hexadecimal, if it is written.
    pub fn trace(&self) -> Option<String> {
        self.tracer.sink.is_some().then(|| hex(&self.trace))
    }

    fn add(&mut self, attribute: impl FnOnce() -> Value) {
        if self.tracer.sink.is_some() {
            self.attributes.push(attribute());
        }
    }

    fn line(&self, instance: &str) -> Value {
        let nanos = |t: SystemTime| t.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos()).to_string();
        let mut span = json!({
            "traceId": hex(&self.trace),
            "spanId": hex(&self.id),
            "name": self.name,
            "kind": self.kind as u8,
            "startTimeUnixNano": nanos(self.start),
            "endTimeUnixNano": nanos(SystemTime::now()),
            "status": {"code": if self.failed { 2 } else { 1 }},
        });
        if let Some(parent) = &self.parent {
            span["parentSpanId"] = hex(parent).into();
        }
        if !self.attributes.is_empty() {
            span["attributes"] = self.attributes.clone().into();
        }
        let attributes = [text("service.name", "subrosa"), text("service.instance.id", instance)];
        json!({"resourceSpans": [{
            "resource": {"attributes": attributes},
            "scopeSpans": [{"scope": {"name": "subrosa"}, "spans": [span]}],
        }]})
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(sink) = &self.tracer.sink {
            let line = format!("{}\n", self.line(&sink.instance));
            // A full disk costs traces, not inferences.
            let _ = sink.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
        }
    }
}

impl Parent {
    /// Reads a `traceparent` header; none for what is no such header, as its standard has it.
    ///
    /// **Source:** <https://www.w3.org/TR/trace-context/>, section 3.2.
    pub fn read(header: &[u8]) -> Option<Self> {
        let (version, rest) = field::<1>(header)?;
        let (trace, rest) = field::<16>(rest.strip_prefix(b"-")?)?;
        let (id, rest) = field::<8>(rest.strip_prefix(b"-")?)?;
        let ([flags], rest) = field::<1>(rest.strip_prefix(b"-")?)?;
        let ends = match version {
            [0] => rest.is_empty(),
            [0xff] => false,
            // Later versions may say more.
            _ => rest.is_empty() || rest.starts_with(b"-"),
        };
        (ends && trace != [0; 16] && id != [0; 8]).then_some(Self { trace, id, sampled: flags & 1 == 1 })
    }
}

/// The bytes that so many hexadecimal digits, lower case, stand for, and what follows.
fn field<const N: usize>(text: &[u8]) -> Option<([u8; N], &[u8])> {
    let (digits, rest) = text.split_at_checked(2 * N)?;
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some((bytes, rest))
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(work: impl FnOnce(&Tracer)) -> Vec<Value> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traces.jsonl");
        work(&Tracer::new("hospital", Some(&path)).unwrap());
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
        lines.map(|line| line["resourceSpans"][0]["scopeSpans"][0]["spans"][0].clone()).collect()
    }

    #[test]
    fn spans_are_written_with_their_trace_and_parent() {
        let spans = written(|tracer| {
            let mut session = tracer.span(&[0xab; 16], "session");
            drop(session.child("run"));
            session.failed();
        });
        assert_eq!((spans[0]["name"].as_str(), spans[1]["name"].as_str()), (Some("run"), Some("session")));
        assert_eq!(spans[0]["traceId"], "ab".repeat(16));
        assert_eq!(spans[0]["parentSpanId"], spans[1]["spanId"]);
        assert_eq!((&spans[1]["status"]["code"], &spans[1]["kind"]), (&2.into(), &1.into()));
    }

    #[test]
    fn a_request_goes_on_with_its_senders_trace() {
        let header = |flags: &str| format!("00-{}-{}-{flags}", "4b".repeat(16), "0a".repeat(8));
        let sender = Parent::read(header("01").as_bytes());
        let spans = written(|tracer| {
            let mut span = tracer.request(sender, "infer");
            span.tell("subrosa.model", "mlp");
            span.count("subrosa.samples", 3);
            assert_eq!(span.trace(), Some("4b".repeat(16)));
            drop(tracer.request(Parent::read(header("00").as_bytes()), "not recorded"));
            drop(span);
            assert_ne!(tracer.request(None, "infer").trace(), tracer.request(None, "infer").trace());
        });
        assert_eq!((spans.len(), &spans[0]["parentSpanId"], &spans[0]["kind"]), (3, &"0a".repeat(8).into(), &2.into()));
        let attributes = json!([
            {"key": "subrosa.model", "value": {"stringValue": "mlp"}},
            {"key": "subrosa.samples", "value": {"intValue": "3"}},
        ]);
        assert_eq!(spans[0]["attributes"], attributes);
        assert!(Tracer::off().request(sender, "infer").trace().is_none());
    }

    #[test]
    fn what_is_no_traceparent_is_passed_over() {
        let (trace, id) = ("4b".repeat(16), "0a".repeat(8));
        for right in [format!("00-{trace}-{id}-01"), format!("01-{trace}-{id}-03"), format!("cc-{trace}-{id}-01-more")]
        {
            assert!(Parent::read(right.as_bytes()).is_some_and(|p| p.sampled), "{right}");
        }
        for wrong in [
            String::new(),
            format!("00-{trace}-{id}"),
            format!("00-{trace}-{id}-01-"),
            format!("00-{trace}-{id}-1"),
            format!("ff-{trace}-{id}-01"),
            format!("01-{trace}-{id}-01more"),
            format!("00-{}-{id}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{}-{id}-01", trace.to_uppercase()),
            format!("00-{trace}-{id}-0g"),
            format!("00_{trace}-{id}-01"),
            format!("00-{trace}{id}-01"),
            "é".repeat(55),
        ] {
            assert_eq!(Parent::read(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
