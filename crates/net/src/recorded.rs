//! One direction of a link in a file: what an endpoint said before its peer was there.
//!
//! A dealer speaks and never listens, so all that it says to a party can be written down
//! ([`Recorder`]) and played back in its place ([`Recording`]). A file is
//!
//! | bytes | meaning, little-endian |
//! |---|---|
//! | 8 | `SROKEYS1` |
//! | 4 | length of the head |
//! | 8 | length of all payloads, `n` |
//! | head | the writer's, whatever the reader has to know beforehand |
//! | `n` | the payloads, one after another; who reads knows their lengths |
//! | 32 for each MiB of payload begun | BLAKE3 of that piece |
//! | seal | the writer's, over [`Recording::digest`]: a signature |
//!
//! so its length follows from what is in it ([`recorded_bytes`]). Everything but the payload
//! is read and checked before the first message, and each piece of the payload before its
//! first byte is handed out: a file is never held in memory, and messages can be left in it
//! until they are needed ([`Link::defer`]).
//!
//! **Deliberately absent:** encryption, names of files, and any idea of what was said.

use crate::error::PeerFault;
use crate::frame::{DATA, Frame, Header};
use crate::link::{Later, Link, LinkError};
use crate::wait::Wake;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"SROKEYS1";

/// Bytes before the head.
const PREFIX: usize = 20;

/// Bytes of payload under one hash.
const PIECE: usize = 1 << 20;

const HASH: usize = 32;

/// The longest head, bytes.
pub const MAX_HEAD: usize = 4096;

/// Length of a file with a head and a seal of these lengths and so many bytes of payload.
pub fn recorded_bytes(head: usize, payload: u64, seal: usize) -> u64 {
    (PREFIX + head + seal) as u64 + payload + pieces(payload) * HASH as u64
}

fn pieces(payload: u64) -> u64 {
    payload.div_ceil(PIECE as u64)
}

/// Writes down what is sent. The link that [`Recorder::link`] gives goes into a session in
/// the peer's place; [`Recorder::finish`] completes the file.
pub struct Recorder(Arc<Mutex<Writing>>);

struct Writing {
    file: File,
    opening: Vec<u8>,
    announced: u64,
    written: u64,
    piece: Zeroizing<Vec<u8>>,
    hashes: Vec<u8>,
    failed: Option<String>,
}

impl Recorder {
    /// Begins a recording of `payload` bytes in an empty file.
    ///
    /// **Errors:** those of writing; `InvalidInput` for a head beyond [`MAX_HEAD`].
    pub fn begin(mut file: File, head: &[u8], payload: u64) -> io::Result<Self> {
        let length = u32::try_from(head.len()).ok().filter(|_| head.len() <= MAX_HEAD);
        let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the head is too long"))?;
        let opening = [MAGIC.as_slice(), &length.to_le_bytes(), &payload.to_le_bytes(), head].concat();
        file.write_all(&opening)?;
        let piece = Zeroizing::new(Vec::with_capacity(PIECE));
        let hashes = Vec::new();
        let writing = Writing { file, opening, announced: payload, written: 0, piece, hashes, failed: None };
        Ok(Self(Arc::new(Mutex::new(writing))))
    }

    /// The link that writes; it has nothing to say itself.
    pub fn link(&self) -> Box<dyn Link> {
        Box::new(Writer(Arc::clone(&self.0)))
    }

    /// Completes the file, and has it reach the disk. `seal` makes the seal of its digest.
    ///
    /// **Errors:** those of writing, also of earlier messages; `InvalidData` if another number
    /// of bytes was sent than was announced.
    pub fn finish(self, seal: impl FnOnce(&[u8; 32]) -> io::Result<Vec<u8>>) -> io::Result<()> {
        let mut writing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = writing.failed.take() {
            return Err(io::Error::other(reason));
        }
        if writing.written != writing.announced {
            let message = format!("{} bytes were announced, but {} sent", writing.announced, writing.written);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        writing.flush()?;
        let seal = seal(&digest(&writing.opening, &writing.hashes))?;
        let Writing { file, hashes, .. } = &mut *writing;
        file.write_all(hashes)?;
        file.write_all(&seal)?;
        file.sync_all()
    }
}

impl Writing {
    fn write(&mut self, mut payload: &[u8]) -> io::Result<()> {
        self.written += payload.len() as u64;
        while !payload.is_empty() {
            let (now, rest) = payload.split_at(payload.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(now);
            payload = rest;
            if self.piece.len() == PIECE {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.piece.is_empty() {
            self.hashes.extend(blake3::hash(&self.piece).as_bytes());
            self.file.write_all(&self.piece)?;
            self.piece.clear();
        }
        Ok(())
    }
}

struct Writer(Arc<Mutex<Writing>>);

impl Link for Writer {
    fn send(&mut self, frame: Frame) -> Result<(), LinkError> {
        if Header::decode(&frame.header).kind != DATA {
            return Ok(());
        }
        let payload = Zeroizing::new(frame.payload);
        let mut writing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writing.write(&payload).map_err(|error| {
            let reason = error.to_string();
            writing.failed.get_or_insert_with(|| reason.clone());
            fault(&io::Error::other(reason))
        })
    }

    fn poll(&mut self, _limit: Option<u64>) -> Result<Option<Frame>, LinkError> {
        Ok(None)
    }

    fn wake(&self) -> Wake<'_> {
        Wake::Never
    }
}

fn digest(opening: &[u8], hashes: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("subrosa 2026-11 recorded messages v1");
    hasher.update(opening).update(hashes);
    *hasher.finalize().as_bytes()
}

/// A recording that was opened: a link that plays it back, once. No `Debug`: it holds keys.
pub struct Recording {
    source: Arc<Source>,
    head: Vec<u8>,
    seal: Vec<u8>,
    digest: [u8; 32],
    /// Payload handed out so far.
    at: u64,
    /// The piece that was read last, for what else is in it.
    piece: Piece,
    frames: u32,
}

/// The payload, in its file.
struct Source {
    file: File,
    name: String,
    /// Where it begins.
    start: u64,
    length: u64,
    hashes: Vec<[u8; HASH]>,
}

/// A piece of the payload whose hash was found right.
struct Piece {
    number: u64,
    bytes: Zeroizing<Vec<u8>>,
}

impl Piece {
    fn none() -> Self {
        Self { number: u64::MAX, bytes: Zeroizing::new(Vec::new()) }
    }
}

impl Source {
    /// `length` bytes of payload from `at` on, which are there; `piece` may hold their first ones.
    fn read(&self, mut at: u64, length: usize, piece: &mut Piece) -> io::Result<Vec<u8>> {
        let mut payload = Vec::with_capacity(length);
        while payload.len() < length {
            let number = at / PIECE as u64;
            if piece.number != number {
                self.fetch(number, piece)?;
            }
            let skip = (at % PIECE as u64) as usize;
            let end = piece.bytes.len().min(skip + length - payload.len());
            let here = piece
                .bytes
                .get(skip..end)
                .filter(|here| !here.is_empty())
                .ok_or_else(|| self.wrong("it is too short"))?;
            payload.extend_from_slice(here);
            at += (end - skip) as u64;
        }
        Ok(payload)
    }

    fn fetch(&self, number: u64, piece: &mut Piece) -> io::Result<()> {
        let from = number * PIECE as u64;
        let length = usize::try_from(self.length.saturating_sub(from)).unwrap_or(PIECE).min(PIECE);
        piece.number = u64::MAX;
        piece.bytes.resize(length, 0);
        self.file.read_exact_at(&mut piece.bytes, self.start + from).map_err(|e| self.wrong(&e.to_string()))?;
        let expected = usize::try_from(number).ok().and_then(|number| self.hashes.get(number));
        if expected.is_none_or(|expected| blake3::hash(&piece.bytes) != *expected) {
            return Err(self.wrong(&format!("its piece {number} was changed")));
        }
        piece.number = number;
        Ok(())
    }

    fn wrong(&self, reason: &str) -> io::Error {
        wrong(&format!("{}: {reason}", self.name))
    }
}

/// A file that may be a recording, of which the first bytes were read.
pub struct Opening {
    file: File,
    name: String,
    seal: usize,
    /// Everything before the payload.
    bytes: Vec<u8>,
    payload: u64,
}

impl Opening {
    /// Reads the first bytes of a recording, `name` in errors, whose seal has `seal` bytes.
    ///
    /// **Errors:** those of reading; `InvalidData` saying what is wrong.
    pub fn read(mut file: File, name: &str, seal: usize) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let mut prefix = [0; PREFIX];
        file.read_exact(&mut prefix).map_err(|_| wrong("it ends within its first bytes"))?;
        let (magic, rest) = prefix.split_at(MAGIC.len());
        let (head, payload) = rest.split_at(4);
        let head = head.first_chunk().map_or(0, |b| u32::from_le_bytes(*b)) as usize;
        let payload = payload.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
        if magic != MAGIC || head > MAX_HEAD {
            return Err(wrong("it is no file of keys of this version"));
        }
        // Before anything is added up that a file says.
        if payload > length || recorded_bytes(head, payload, seal) != length {
            return Err(wrong("it was cut off, or something was added to it"));
        }
        let mut bytes = prefix.to_vec();
        bytes.resize(PREFIX + head, 0);
        file.read_exact(&mut bytes[PREFIX..])?;
        Ok(Self { file, name: name.to_owned(), seal, bytes, payload })
    }

    /// The writer's head. Not authentic before the seal was checked.
    pub fn head(&self) -> &[u8] {
        self.bytes.get(PREFIX..).unwrap_or_default()
    }

    /// Bytes of payload that it says it has. Not authentic either.
    pub fn payload(&self) -> u64 {
        self.payload
    }

    /// Reads the rest but the payload: a 32768th of its length.
    ///
    /// **Errors:** those of reading; `InvalidData` saying what is wrong.
    pub fn complete(self) -> io::Result<Recording> {
        let Self { mut file, name, seal, bytes, payload } = self;
        file.seek(SeekFrom::Current(i64::try_from(payload).map_err(|_| wrong("it is too long"))?))?;
        let mut trailer = Vec::new();
        (&file).take(pieces(payload) * HASH as u64 + seal as u64).read_to_end(&mut trailer)?;
        let at = trailer.len().checked_sub(seal).ok_or_else(|| wrong("it was cut off"))?;
        let (hashes, seal) = trailer.split_at(at);
        let digest = digest(&bytes, hashes);
        let hashes = hashes.as_chunks().0.to_vec();
        let source = Source { file, name, start: bytes.len() as u64, length: payload, hashes };
        let (head, seal) = (bytes.get(PREFIX..).unwrap_or_default().to_vec(), seal.to_vec());
        Ok(Recording { source: Arc::new(source), head, seal, digest, at: 0, piece: Piece::none(), frames: 0 })
    }
}

impl Recording {
    /// The writer's head. Not authentic before the seal was checked.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// What the seal is over: head, length and all hashes.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The writer's seal.
    pub fn seal(&self) -> &[u8] {
        &self.seal
    }

    /// Reads all of the payload and hands nothing out: whether it is what the writer hashed. What is handed out
    /// is looked at again then, as a file may change between.
    ///
    /// **Cost:** one pass over the file, 1 MiB of memory.
    ///
    /// **Errors:** those of reading; `InvalidData` naming the piece that was changed.
    pub fn verify(&self) -> io::Result<()> {
        let mut piece = Piece::none();
        (0..pieces(self.source.length)).try_for_each(|number| self.source.fetch(number, &mut piece))
    }

    /// Bytes of payload that were not handed out yet.
    pub fn left(&self) -> u64 {
        self.source.length - self.at
    }

    /// The place of the next `length` bytes.
    fn next(&mut self, length: u64) -> Result<(u64, usize), LinkError> {
        let fits = usize::try_from(length).ok().filter(|_| length <= self.left());
        let whole = fits.ok_or_else(|| fault(&self.source.wrong("it holds fewer keys than are asked for")))?;
        let at = self.at;
        self.at += length;
        self.frames = self.frames.wrapping_add(1);
        Ok((at, whole))
    }
}

impl Link for Recording {
    /// Nobody hears.
    fn send(&mut self, _frame: Frame) -> Result<(), LinkError> {
        Ok(())
    }

    fn poll(&mut self, limit: Option<u64>) -> Result<Option<Frame>, LinkError> {
        let Some(limit) = limit else { return Ok(None) };
        let number = self.frames;
        let (at, length) = self.next(limit)?;
        let payload = self.source.read(at, length, &mut self.piece).map_err(|e| fault(&e))?;
        Ok(Some(Frame::data(number, payload)))
    }

    fn defer(&mut self, length: u64) -> Result<Option<Later>, LinkError> {
        let (at, length) = self.next(length)?;
        let source = Arc::clone(&self.source);
        Ok(Some(Box::new(move || source.read(at, length, &mut Piece::none()))))
    }

    fn wake(&self) -> Wake<'_> {
        Wake::Never
    }
}

fn fault(error: &io::Error) -> LinkError {
    LinkError::Fault(PeerFault::Recording(error.to_string()))
}

fn wrong(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Session;
    use crate::{EndpointId, Error};
    use std::path::Path;

    const SEAL: usize = 5;

    fn opened(path: &Path) -> io::Result<Recording> {
        Opening::read(File::open(path)?, "keys", SEAL)?.complete()
    }

    fn names() -> Vec<String> {
        ["server", "dealer"].map(String::from).to_vec()
    }

    fn path(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("subrosa-recorded-{}-{name}", std::process::id()))
    }

    fn message(length: usize, seed: u8) -> Vec<u8> {
        (0..length).map(|i| (i % 251) as u8 ^ seed).collect()
    }

    const LENGTHS: [usize; 4] = [64, PIECE - 64, 2 * PIECE + 3, 1];

    fn record(path: &std::path::Path) -> io::Result<()> {
        let total = LENGTHS.iter().sum::<usize>() as u64;
        let recorder = Recorder::begin(File::create(path)?, b"a head", total)?;
        let mut dealer = Session::new(1, names(), vec![(0, recorder.link())]);
        for (i, length) in LENGTHS.into_iter().enumerate() {
            dealer.round(vec![(0, message(length, i as u8))], &[]).unwrap();
        }
        drop(dealer);
        recorder.finish(|digest| Ok(digest[..SEAL].to_vec()))
    }

    fn replay(path: &std::path::Path, lengths: &[usize]) -> Result<Vec<Vec<u8>>, Error> {
        const DEALER: EndpointId = 1;
        let recording = opened(path).unwrap();
        let mut server = Session::new(0, names(), vec![]);
        server.attach(DEALER, Some(Box::new(recording)));
        lengths.iter().map(|&n| Ok(server.round(vec![], &[(DEALER, n)])?.remove(0))).collect()
    }

    #[test]
    fn what_was_said_is_heard_and_its_length_is_known_beforehand() {
        let path = path("whole");
        record(&path).unwrap();
        let total = LENGTHS.iter().sum::<usize>() as u64;
        assert_eq!(std::fs::metadata(&path).unwrap().len(), recorded_bytes(6, total, SEAL));
        let heard = replay(&path, &LENGTHS).unwrap();
        for (i, (heard, length)) in heard.iter().zip(LENGTHS).enumerate() {
            assert!(*heard == message(length, i as u8), "message {i}");
        }
        let recording = opened(&path).unwrap();
        assert_eq!((recording.head(), recording.seal()), (b"a head".as_slice(), &recording.digest()[..SEAL]));
        recording.verify().unwrap();
        assert_eq!(recording.left(), total);
        // More than is there is never invented, and never waited for.
        let mut more = LENGTHS.to_vec();
        more.push(1);
        assert!(matches!(replay(&path, &more), Err(Error::Peer { kind: PeerFault::Recording(_), .. })));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn messages_left_for_later_are_read_from_their_place() {
        let path = path("later");
        record(&path).unwrap();
        let recording = opened(&path).unwrap();
        let mut server = Session::new(0, names(), vec![]);
        server.attach(1, Some(Box::new(recording)));
        let mut later = Vec::new();
        for (i, length) in LENGTHS.into_iter().enumerate() {
            match i % 2 {
                0 => later.push((i, server.defer(1, length).unwrap().unwrap())),
                _ => assert!(server.round(vec![], &[(1, length)]).unwrap().remove(0) == message(length, i as u8)),
            }
        }
        assert!(matches!(server.defer(1, 1), Err(Error::Peer { kind: PeerFault::Recording(_), .. })));
        // The link is gone, and so is the name of the file.
        drop(server);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[PREFIX + 6 + 64 + PIECE] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        std::fs::remove_file(&path).unwrap();
        let read: Vec<_> = later.into_iter().map(|(i, later)| (i, later())).collect();
        assert!(matches!(&read[0], (0, Ok(first)) if *first == message(LENGTHS[0], 0)));
        assert!(read[1].1.as_ref().unwrap_err().to_string().contains("keys: its piece 1 was changed"));
    }

    #[test]
    fn every_change_is_noticed_before_its_bytes_are_handed_out() {
        let (whole, path) = (path("sound"), path("changed"));
        record(&whole).unwrap();
        let bytes = std::fs::read(&whole).unwrap();
        let sound = opened(&whole).unwrap();
        let payload = PREFIX + 6..PREFIX + 6 + LENGTHS.iter().sum::<usize>();
        let positions = (0..PREFIX + 6).chain([payload.start, payload.start + 2 * PIECE, payload.end - 1]);
        for at in positions.chain([payload.end, bytes.len() - SEAL - 1, bytes.len() - 1]) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            if payload.contains(&at) {
                let piece = format!("its piece {} was changed", (at - payload.start) / PIECE);
                let error = opened(&path).unwrap().verify().unwrap_err();
                assert!(error.to_string().contains(&piece), "byte {at}: {error}");
            }
            let noticed = match opened(&path) {
                Err(_) => true,
                Ok(r) if r.digest() != sound.digest() || r.seal() != sound.seal() => true,
                Ok(_) => replay(&path, &LENGTHS).is_err(),
            };
            assert!(noticed, "byte {at}");
        }
        for length in [0, 7, PREFIX, PREFIX + 5, payload.start + 9, payload.end, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(opened(&path).is_err(), "{length} bytes");
        }
        std::fs::write(&path, [bytes.as_slice(), &[0]].concat()).unwrap();
        assert!(opened(&path).is_err());
        std::fs::remove_file(&whole).unwrap();
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn another_length_than_announced_makes_no_file() {
        let path = path("short");
        let recorder = Recorder::begin(File::create(&path).unwrap(), b"", 3).unwrap();
        recorder.link().send(Frame::data(0, vec![1, 2])).unwrap();
        let error = recorder.finish(|_| Ok(vec![])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        std::fs::remove_file(&path).unwrap();
    }
}
