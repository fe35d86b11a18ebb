//! The bytes of a Nitro document.

use super::cbor::{Head, Reader};
use crate::claims::{NitroClaims, PCRS};
use crate::names::Piece;
use crate::reason::Reason;

/// A document whose form is right; its signature is not checked yet.
#[derive(Default)]
pub(super) struct Document<'a> {
    protected: &'a [u8],
    payload: &'a [u8],
    pub(super) signature: &'a [u8],
    module_id: &'a str,
    timestamp_ms: u64,
    pcrs: [Option<[u8; 48]>; PCRS],
    pub(super) certificate: &'a [u8],
    /// From the root down to the leaf's issuer, as the document lists them.
    pub(super) chain: Vec<&'a [u8]>,
    public_key: Option<&'a [u8]>,
    user_data: Option<&'a [u8]>,
    nonce: Option<&'a [u8]>,
}

impl<'a> Document<'a> {
    /// **Errors:** [`Reason::Malformed`], [`Reason::Unsupported`].
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Reason> {
        let mut outer = Reader::new(bytes);
        let mut head = outer.head();
        if head == Some(Head::Tag(COSE_SIGN1)) {
            head = outer.head();
        }
        if head != Some(Head::Array(4)) {
            return Err(malformed("it is not COSE_Sign1"));
        }
        let protected = outer.bytes().ok_or(malformed("it has no protected header"))?;
        // The algorithm is inside the signature; the unprotected header is not, and is empty.
        if protected != ES384 {
            return Err(Reason::Unsupported { piece: Piece::Document, detail: "it is not signed by ES384" });
        }
        if outer.head() != Some(Head::Map(0)) {
            return Err(malformed("its unprotected header is not empty"));
        }
        let payload = outer.bytes().ok_or(malformed("it has no payload"))?;
        let signature = outer.bytes().ok_or(malformed("it has no signature"))?;
        if !outer.is_empty() {
            return Err(malformed("bytes follow its end"));
        }
        let mut document = Self { protected, payload, signature, ..Self::default() };
        document.read_payload().ok_or(malformed("its payload is not that of a Nitro document"))?;
        Ok(document)
    }

    /// What the signature covers: RFC 9052 §4.4, Sig_structure.
    pub(super) fn signed_bytes(&self) -> Vec<u8> {
        let mut out = vec![0x84, 0x6a];
        out.extend(b"Signature1");
        put_bytes(&mut out, self.protected);
        put_bytes(&mut out, &[]);
        put_bytes(&mut out, self.payload);
        out
    }

    /// **Errors:** [`Reason::Malformed`] if it lacks what every document has.
    pub(super) fn claims(&self, valid_until: u64) -> Result<NitroClaims, Reason> {
        let owned = |field: Option<&[u8]>| field.map(<[u8]>::to_vec);
        if self.module_id.is_empty() || self.timestamp_ms == 0 {
            return Err(malformed("it names no module or no time"));
        }
        Ok(NitroClaims {
            module_id: self.module_id.to_owned(),
            timestamp_ms: self.timestamp_ms,
            pcrs: self.pcrs,
            user_data: owned(self.user_data),
            nonce: owned(self.nonce),
            public_key: owned(self.public_key),
            valid_until,
        })
    }

    fn read_payload(&mut self) -> Option<()> {
        let mut r = Reader::new(self.payload);
        let Head::Map(fields) = r.head()? else { return None };
        let mut seen = Vec::new();
        for _ in 0..fields {
            let Head::Text(name) = r.head()? else { return None };
            // A field given twice would mean different things to different readers.
            if seen.contains(&name) {
                return None;
            }
            seen.push(name);
            self.read_field(name, &mut r)?;
        }
        r.is_empty().then_some(())
    }

    fn read_field(&mut self, name: &str, r: &mut Reader<'a>) -> Option<()> {
        match name {
            "module_id" => self.module_id = text(r)?,
            "digest" => return (text(r)? == "SHA384").then_some(()),
            "timestamp" => self.timestamp_ms = unsigned(r)?,
            "pcrs" => self.read_pcrs(r)?,
            "certificate" => self.certificate = r.bytes()?,
            "cabundle" => self.read_chain(r)?,
            "public_key" => self.public_key = r.bytes_or_null()?,
            "user_data" => self.user_data = r.bytes_or_null()?,
            "nonce" => self.nonce = r.bytes_or_null()?,
            _ => return None,
        }
        Some(())
    }

    fn read_pcrs(&mut self, r: &mut Reader<'a>) -> Option<()> {
        let Head::Map(count) = r.head()? else { return None };
        for _ in 0..count {
            let place = self.pcrs.get_mut(usize::try_from(unsigned(r)?).ok()?)?;
            let value = r.bytes()?.try_into().ok()?;
            if place.replace(value).is_some() {
                return None;
            }
        }
        Some(())
    }

    fn read_chain(&mut self, r: &mut Reader<'a>) -> Option<()> {
        let Head::Array(count) = r.head()? else { return None };
        for _ in 0..count {
            self.chain.push(r.bytes()?);
        }
        Some(())
    }
}

fn text<'a>(r: &mut Reader<'a>) -> Option<&'a str> {
    let Head::Text(text) = r.head()? else { return None };
    Some(text)
}

fn unsigned(r: &mut Reader<'_>) -> Option<u64> {
    let Head::Unsigned(number) = r.head()? else { return None };
    Some(number)
}

/// A byte string in its shortest form.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        n @ 0..24 => out.push(0x40 | n as u8),
        n @ 24..0x100 => out.extend([0x58, n as u8]),
        n @ 0x100..0x1_0000 => {
            out.push(0x59);
            out.extend((n as u16).to_be_bytes());
        }
        n => {
            out.push(0x5a);
            out.extend((n as u32).to_be_bytes());
        }
    }
    out.extend(bytes);
}

fn malformed(detail: &'static str) -> Reason {
    Reason::Malformed { piece: Piece::Document, detail }
}

const COSE_SIGN1: u64 = 18;

/// { 1: -35 }: the algorithm is ECDSA P-384 with SHA-384.
const ES384: &[u8] = &[0xa1, 0x01, 0x38, 0x22];
