//! HTTP/1.1 on a connection that is kept, with as little of its own as can be.
#![allow(dead_code, reason = "each bench uses a part of this")]

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use subrosa::oip::{HEADER_LENGTH, InferRequest, Message, Tensor};

/// A connection to a server.
pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
    line: String,
    body: Vec<u8>,
}

/// An answer.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Wire {
    pub(crate) fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), line: String::new(), body: Vec::new() })
    }

    /// Sends a request and reads its answer; none where the server closed the connection instead,
    /// and not a byte came.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Result<Option<Answer<'_>>> {
        if self.stream.get_mut().write_all(request).is_err() {
            return Ok(None);
        }
        match self.stream.fill_buf() {
            Ok([]) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        let status = self.header()?.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(no_http)?;
        let mut length = None;
        loop {
            let header = self.header()?;
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').ok_or_else(no_http)?;
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            }
        }
        self.body.resize(length.ok_or_else(no_http)?, 0);
        self.stream.read_exact(&mut self.body)?;
        Ok(Some(Answer { status, body: &self.body }))
    }

    fn header(&mut self) -> Result<&str> {
        self.line.clear();
        if self.stream.read_line(&mut self.line)? == 0 {
            return Err(Error::new(ErrorKind::UnexpectedEof, "an answer was cut off"));
        }
        Ok(self.line.trim_end())
    }
}

fn no_http() -> Error {
    Error::new(ErrorKind::InvalidData, "an answer is no HTTP")
}

/// A request with a body; `headers` end in `\r\n` each.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{method} {path} HTTP/1.1\r\nhost: bench\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// `POST infer` of digits, as binary tensors.
pub(crate) fn binary(model: &str, input: &str, shape: &[usize], values: &[f32], headers: &str) -> Vec<u8> {
    let tensor = Tensor { name: input.to_owned(), shape: shape.to_vec(), values: values.to_vec() };
    let request = InferRequest { inputs: vec![tensor], binary: true, ..InferRequest::default() };
    let Message { body, json } = request.encode().unwrap_or_else(|_| Message { body: Vec::new(), json: None });
    let length = json.map(|n| format!("{HEADER_LENGTH}: {n}\r\n")).unwrap_or_default();
    self::request("POST", &format!("/v2/models/{model}/infer"), &(length + headers), &body)
}

/// The same, as JSON.
pub(crate) fn json(model: &str, input: &str, shape: &[usize], values: &[f32], headers: &str) -> Vec<u8> {
    let tensor = serde_json::json!({ "name": input, "shape": shape, "datatype": "FP32", "data": values });
    let body = serde_json::json!({ "inputs": [tensor] }).to_string();
    let headers = format!("content-type: application/json\r\n{headers}");
    request("POST", &format!("/v2/models/{model}/infer"), &headers, body.as_bytes())
}
