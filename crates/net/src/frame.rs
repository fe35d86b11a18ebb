//! What travels on a link: a header of 16 bytes, then the payload.
//!
//! | bytes | meaning, little-endian |
//! |---|---|
//! | 0..4 | kind: [`DATA`], [`ABORT`] or [`HEARTBEAT`] |
//! | 4..8 | number of this frame on this link and direction, from 0, modulo 2^32 |
//! | 8..16 | payload length in bytes |

use subrosa_core::FRAME_HEADER_BYTES;

/// Kind of a frame that carries a protocol message.
pub const DATA: u32 = 1;

/// Kind of a frame that carries the reason for which its sender stops, as UTF-8.
pub const ABORT: u32 = 2;

/// Kind of a frame without payload that says: its sender is alive, and waits itself.
/// Heartbeats carry no number and are not counted.
pub const HEARTBEAT: u32 = 3;

/// Bytes of a reason beyond which it is cut.
pub const MAX_REASON: usize = 512;

/// Header length in bytes.
pub const HEADER: usize = FRAME_HEADER_BYTES as usize;

/// One message as a link carries it. The header is kept as bytes, so that what a peer
/// wrote is what the session checks.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// The encoded [`Header`].
    pub header: [u8; HEADER],
    /// What follows it.
    pub payload: Vec<u8>,
}

/// The decoded header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// [`DATA`], [`ABORT`], [`HEARTBEAT`], or what a broken peer wrote.
    pub kind: u32,
    /// Number of the frame on its link.
    pub sequence: u32,
    /// Payload length in bytes.
    pub length: u64,
}

/// The header only: a payload is a share, or a key.
impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Header { kind, sequence, length } = Header::decode(&self.header);
        write!(f, "Frame {{ kind: {kind}, sequence: {sequence}, length: {length} }}")
    }
}

impl Frame {
    /// The `sequence`-th frame of a link, carrying a protocol message.
    pub fn data(sequence: u32, payload: Vec<u8>) -> Self {
        Self::new(DATA, sequence, payload)
    }

    /// The frame that says why its sender stops; the reason is cut at [`MAX_REASON`].
    pub fn abort(sequence: u32, reason: &str) -> Self {
        let end = (0..=reason.len().min(MAX_REASON)).rev().find(|&i| reason.is_char_boundary(i));
        Self::new(ABORT, sequence, reason.as_bytes()[..end.unwrap_or(0)].to_vec())
    }

    /// The frame that says that its sender waits, too.
    pub fn heartbeat() -> Self {
        Self::new(HEARTBEAT, 0, Vec::new())
    }

    fn new(kind: u32, sequence: u32, payload: Vec<u8>) -> Self {
        let header = Header { kind, sequence, length: payload.len() as u64 }.encode();
        Self { header, payload }
    }

    /// `frame` with a header that says `by` more payload bytes: for links that add to a
    /// payload, and keep what a broken peer wrote broken.
    pub(crate) fn relabelled(mut frame: Self, by: i64) -> Self {
        let header = Header::decode(&frame.header);
        frame.header = Header { length: header.length.wrapping_add_signed(by), ..header }.encode();
        frame
    }

    /// The payload of an [`ABORT`] frame as text that is safe to print.
    pub fn reason(&self) -> String {
        let bytes = &self.payload[..self.payload.len().min(MAX_REASON)];
        let text = String::from_utf8_lossy(bytes);
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

impl Header {
    /// The 16 bytes on the link.
    pub fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&self.kind.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[8..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    /// The header written in these 16 bytes. Every value decodes; the session judges.
    pub fn decode(bytes: &[u8; HEADER]) -> Self {
        let [k0, k1, k2, k3, s0, s1, s2, s3, length @ ..] = *bytes;
        Self {
            kind: u32::from_le_bytes([k0, k1, k2, k3]),
            sequence: u32::from_le_bytes([s0, s1, s2, s3]),
            length: u64::from_le_bytes(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_in_the_documented_layout() {
        let header = Header { kind: 0x0403_0201, sequence: 0x0807_0605, length: 0x100f_0e0d_0c0b_0a09 };
        assert_eq!(header.encode(), std::array::from_fn(|i| i as u8 + 1));
        assert_eq!(Header::decode(&header.encode()), header);
    }

    #[test]
    fn reasons_are_cut_at_a_character_and_printable() {
        let frame = Frame::abort(0, &"\u{e9}".repeat(400));
        assert_eq!(frame.payload.len(), MAX_REASON);
        let odd = Frame::abort(0, &format!("x{}", "\u{e9}".repeat(400)));
        assert_eq!(odd.payload.len(), MAX_REASON - 1);
        assert_eq!(Frame::abort(0, "a\u{1b}[2Jb\n").reason(), "a [2Jb ");
        assert_eq!(Frame { header: [0; HEADER], payload: vec![0xff] }.reason(), "\u{fffd}");
    }
}
