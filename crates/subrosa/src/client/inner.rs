//! What is sealed inside the attested channel.

use super::http::printable;
use crate::oip::{ErrorBody, Message};
use crate::{Error, Result};

/// What is sealed: a request, or the answer with its status.
pub struct Inner<'a> {
    /// 200, or the status of a refusal.
    pub status: u16,
    /// The length of the JSON, if bytes follow it.
    pub json: Option<usize>,
    /// The message's body.
    pub body: &'a [u8],
}

impl<'a> Inner<'a> {
    pub(super) fn request(message: &Message) -> Vec<u8> {
        [&length(message.json)[..], &message.body].concat()
    }

    /// Reads what [`super::Client::infer`] seals.
    ///
    /// **Errors:** [`Error::Input`] if it is none.
    pub fn read_request(bytes: &'a [u8]) -> Result<Self> {
        let (json, body) = bytes.split_first_chunk::<8>().ok_or_else(cut)?;
        Ok(Self { status: 200, json: unlength(*json), body })
    }

    /// An answer as it is sealed.
    pub fn answer(status: u16, message: &Message) -> Vec<u8> {
        [&status.to_le_bytes()[..], &length(message.json), &message.body].concat()
    }

    /// **Errors:** [`Error::Input`] if it is none; [`Error::Peer`] with a refusal's words.
    pub(super) fn read_answer(bytes: &'a [u8]) -> Result<Self> {
        let (status, rest) = bytes.split_first_chunk::<2>().ok_or_else(cut)?;
        let (json, body) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
        let status = u16::from_le_bytes(*status);
        if status == 200 {
            return Ok(Self { status, json: unlength(*json), body });
        }
        let said = serde_json::from_slice::<ErrorBody>(body).map_or_else(|_| "no reason".to_owned(), |e| e.error);
        Err(Error::Peer { message: format!("the program refuses ({status}): {}", printable(&said)) })
    }
}

fn length(json: Option<usize>) -> [u8; 8] {
    json.map_or(u64::MAX, |n| n as u64).to_le_bytes()
}

fn unlength(bytes: [u8; 8]) -> Option<usize> {
    match u64::from_le_bytes(bytes) {
        u64::MAX => None,
        n => Some(usize::try_from(n).unwrap_or(usize::MAX)),
    }
}

fn cut() -> Error {
    Error::input("the sealed message is cut off", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_words_of_a_program_steer_a_terminal() {
        let said = br#"{"error":"a\u001b[2Jb"}"#.to_vec();
        let answer = Inner::answer(400, &Message { body: said, json: None });
        let refused = Inner::read_answer(&answer).err().unwrap().to_string();
        assert!(refused.contains("a[2Jb") && !refused.contains('\u{1b}'), "{refused}");
    }
}
