//! `GET /metrics` for Prometheus: one request a connection, over a socket that a flood does not end.
//!
//! A thread a connection, so many in all and from one address; a request and its answer have a time in all. A
//! server of general use has more of everything: connections that stay, a thread each without bound.

use super::callers::Callers;
use super::metrics::Metrics;
use crate::{Error, Result};
use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Connections at a time: from everywhere, and from one address.
const MOST: usize = 32;
const MOST_OF_ONE: usize = 8;

/// How long a request and its answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest head of a request, bytes, and the most lines of it.
const MOST_BYTES: usize = 8192;
const MOST_LINES: usize = 64;

/// How long nothing is accepted after that failed, as where there are too many files.
const PAUSE: Duration = Duration::from_millis(20);

/// Serves `GET /metrics` at `address` from threads of its own, as long as the process
/// lives; returns the address it listens at.
///
/// **Errors:** [`Error::Io`] if it cannot listen.
pub fn serve_metrics(address: &str, metrics: Arc<Metrics>) -> Result<String> {
    let failed = |e: io::Error| Error::Io { message: format!("cannot listen on {address}: {e}"), hint: None };
    let listener = TcpListener::bind(address).map_err(failed)?;
    let at = listener.local_addr().map_err(failed)?.to_string();
    let callers = Arc::new(Callers::new(MOST, MOST_OF_ONE));
    let accept = move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                thread::sleep(PAUSE);
                continue;
            };
            let (callers, metrics) = (Arc::clone(&callers), Arc::clone(&metrics));
            // Without a thread the caller is dropped, and may try again.
            let _ = thread::Builder::new().spawn(move || answer(stream, &callers, &metrics));
        }
    };
    thread::Builder::new().spawn(accept).map_err(failed)?;
    Ok(at)
}

/// Whoever asked may have left; there is nobody to tell.
fn answer(mut stream: TcpStream, callers: &Callers<IpAddr>, metrics: &Metrics) {
    let Ok(caller) = stream.peer_addr() else { return };
    let Some(_place) = callers.place(caller.ip()) else { return };
    let until = Instant::now() + PATIENCE;
    let Ok(asked) = read(&mut stream, until) else { return };
    let (status, text) = match asked {
        Some(path) if path == "/metrics" => match metrics.text() {
            Ok(text) => ("200 OK", text),
            Err(_) => ("500 Internal Server Error", String::new()),
        },
        Some(_) => ("404 Not Found", "only /metrics is here\n".to_owned()),
        None => ("400 Bad Request", "only GET /metrics is answered\n".to_owned()),
    };
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let length = text.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = write(&mut stream, (head + &text).as_bytes(), until);
}

/// The path of a GET request; none for anything else.
fn read(stream: &mut TcpStream, until: Instant) -> io::Result<Option<String>> {
    let (mut bytes, mut some) = (Vec::new(), [0; 1024]);
    loop {
        stream.set_read_timeout(Some(left(until)?))?;
        let n = stream.read(&mut some)?;
        bytes.extend(some.iter().take(n));
        let mut lines = [httparse::EMPTY_HEADER; MOST_LINES];
        let mut request = httparse::Request::new(&mut lines);
        match request.parse(&bytes) {
            Ok(httparse::Status::Complete(_)) => {
                let path = request.path.filter(|_| request.method == Some("GET"));
                return Ok(path.and_then(|path| path.split('?').next()).map(str::to_owned));
            }
            Ok(httparse::Status::Partial) if n > 0 && bytes.len() <= MOST_BYTES => {}
            Ok(httparse::Status::Partial) | Err(_) => return Ok(None),
        }
    }
}

fn write(stream: &mut TcpStream, mut bytes: &[u8], until: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(Some(left(until)?))?;
        let n = stream.write(bytes)?;
        bytes = bytes.get(n..).unwrap_or_default();
    }
    Ok(())
}

/// What is left until then.
///
/// **Errors:** `TimedOut` if that is nothing.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
    left.ok_or_else(|| io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use super::super::ClusterConfig;
    use super::*;

    fn server() -> String {
        let party = |i: u8| {
            let print = subrosa_net::tcp::Fingerprint([i; 32]);
            format!("[[party]]\nname = \"p{i}\"\naddress = \"127.0.0.1:{i}\"\nfingerprint = \"{print}\"\n")
        };
        let config = ClusterConfig::parse(&(party(1) + &party(2) + &party(3))).unwrap();
        serve_metrics("127.0.0.1:0", Arc::new(Metrics::new(&config, 0))).unwrap()
    }

    /// What comes of these bytes; nothing where the connection is closed without an answer.
    fn said(address: &str, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        let mut text = Vec::new();
        // It may be closed before all is there.
        let _ = stream.write_all(bytes).and_then(|()| stream.read_to_end(&mut text).map(drop));
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn get_metrics_is_answered_and_nothing_else() {
        let at = server();
        let whole = said(&at, b"GET /metrics?name=x HTTP/1.1\r\nHost: x\r\n\r\n");
        let (head, body) = whole.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains(&format!("Content-Length: {}\r\n", body.len())));
        assert!(body.contains("subrosa_samples_total") && body.ends_with("# EOF\n"), "{body}");
        assert!(said(&at, b"GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(3 * MOST_BYTES));
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(MOST_LINES + 1));
        for wrong in [b"POST /metrics HTTP/1.1\r\n\r\n".as_slice(), b"\0\xff\r\n\r\n", long.as_bytes(), many.as_bytes()]
        {
            let answer = said(&at, wrong);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
        }
        assert!(said(&at, b"GET /metrics HTTP/1.0\r\n\r\n").contains("subrosa_samples_total"));
    }

    /// Who opens connections and says nothing has a few of them, and takes nothing away for good.
    #[test]
    fn silent_connections_are_few_and_pass() {
        let at = server();
        let silent: Vec<TcpStream> = (0..4 * MOST_OF_ONE).map(|_| TcpStream::connect(&at).unwrap()).collect();
        // Those beyond are closed at once; the others wait for a request.
        let closed = |mut stream: &TcpStream| {
            stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            match stream.read(&mut [0]) {
                Ok(n) => n == 0,
                Err(e) => e.kind() == io::ErrorKind::ConnectionReset,
            }
        };
        let start = Instant::now();
        while silent.iter().filter(|stream| closed(stream)).count() < 3 * MOST_OF_ONE {
            assert!(start.elapsed() < Duration::from_secs(60), "they are all held");
        }
        drop(silent);
        while !said(&at, b"GET /metrics HTTP/1.1\r\n\r\n").contains("subrosa_samples_total") {
            assert!(start.elapsed() < Duration::from_secs(60), "none is let in again");
        }
    }
}
