//! Evidence, and the collateral that travels with it.

use crate::names::Piece;
use crate::reason::Reason;
use crate::simulation;

/// The longest evidence that is looked at, bytes. Genuine ones have at most a few thousand.
pub const MAX_EVIDENCE: usize = 64 << 10;

/// The longest collateral that is looked at, bytes.
pub const MAX_COLLATERAL: usize = 512 << 10;

/// Evidence as its platform made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// A DCAP quote of SGX (version 3) or TDX (version 4 or 5).
    Dcap(Vec<u8>),
    /// An SEV-SNP attestation report, 1,184 bytes.
    Snp(Vec<u8>),
    /// An AWS Nitro attestation document: COSE_Sign1, with or without its tag.
    Nitro(Vec<u8>),
    /// A statement of [`crate::simulation`], which protects nothing.
    Simulated(Vec<u8>),
}

/// What a verifier needs beside the evidence; none of it is secret, all of it is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collateral {
    /// For [`Evidence::Dcap`]: Intel's signed lists, as the JSON that PCCS clients write.
    Dcap(Vec<u8>),
    /// For [`Evidence::Snp`].
    Snp(SnpCollateral),
    /// For [`Evidence::Nitro`]: the document carries its certificates.
    Nitro,
    /// For [`Evidence::Simulated`]: there is nothing to vouch for it.
    Simulated,
}

/// What a verifier needs beside an SEV-SNP report.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SnpCollateral {
    /// The certificate of the key that signed the report, DER.
    pub certificate: Vec<u8>,
    /// The certificate between that and AMD's root, DER, where it is not one of the three
    /// built in: cloud providers' keys (VLEK) have one of their own.
    pub intermediate: Option<Vec<u8>>,
    /// The root's revocation list, DER.
    pub revocation_list: Option<Vec<u8>>,
}

/// Evidence and collateral in one file: "stapled", so that a verifier needs no network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stapled {
    /// The evidence.
    pub evidence: Evidence,
    /// Its collateral.
    pub collateral: Collateral,
}

impl Evidence {
    /// Takes bare evidence of whatever kind it is.
    ///
    /// **Errors:** [`Reason::TooLong`]; [`Reason::Unsupported`] for bytes of no known kind.
    pub fn recognise(bytes: &[u8]) -> Result<Self, Reason> {
        bounded(Piece::Evidence, bytes, MAX_EVIDENCE)?;
        match bytes {
            _ if bytes.starts_with(simulation::MAGIC) => Ok(Self::Simulated(bytes.to_vec())),
            [3..=5, 0, 2..=3, 0, ..] => Ok(Self::Dcap(bytes.to_vec())),
            [1..=9, 0, 0, 0, ..] if bytes.len() == crate::snp::REPORT_BYTES => Ok(Self::Snp(bytes.to_vec())),
            [0x84, ..] | [0xd2, 0x84, ..] => Ok(Self::Nitro(bytes.to_vec())),
            _ => Err(Reason::Unsupported {
                piece: Piece::Evidence,
                detail: "neither a DCAP quote, nor an SEV-SNP report, nor a Nitro document",
            }),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Dcap(bytes) | Self::Snp(bytes) | Self::Nitro(bytes) | Self::Simulated(bytes) => bytes,
        }
    }
}

impl Stapled {
    /// The file: magic, kind, then each field with its length.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        let (kind, fields): (u8, [Option<&[u8]>; 3]) = match &self.collateral {
            Collateral::Dcap(json) => (0, [Some(json), None, None]),
            Collateral::Snp(c) => (1, [Some(&c.certificate), c.intermediate.as_deref(), c.revocation_list.as_deref()]),
            Collateral::Nitro => (2, [None; 3]),
            Collateral::Simulated => (3, [None; 3]),
        };
        out.push(kind);
        for field in [Some(self.evidence.bytes())].into_iter().chain(fields) {
            out.push(u8::from(field.is_some()));
            let field = field.unwrap_or_default();
            out.extend((field.len() as u32).to_le_bytes());
            out.extend(field);
        }
        out
    }

    /// Whether `bytes` begin as such a file does.
    pub(crate) fn starts(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// Reads such a file. What is in it is not looked at yet.
    ///
    /// **Errors:** [`Reason::TooLong`], [`Reason::Malformed`], [`Reason::Unsupported`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Reason> {
        bounded(Piece::Evidence, bytes, MAX_EVIDENCE + MAX_COLLATERAL)?;
        let rest = bytes.strip_prefix(MAGIC).ok_or(malformed("it does not start as stapled evidence does"))?;
        let (&kind, mut rest) = rest.split_first().ok_or(malformed("it is cut off"))?;
        let evidence = field(&mut rest)?.ok_or(malformed("it holds no evidence"))?;
        let fields = [field(&mut rest)?, field(&mut rest)?, field(&mut rest)?];
        if !rest.is_empty() {
            return Err(malformed("bytes follow its end"));
        }
        match (kind, fields) {
            (0, [Some(json), None, None]) => {
                Ok(Self { evidence: Evidence::Dcap(evidence), collateral: Collateral::Dcap(json) })
            }
            (1, [Some(certificate), intermediate, revocation_list]) => {
                let collateral = SnpCollateral { certificate, intermediate, revocation_list };
                Ok(Self { evidence: Evidence::Snp(evidence), collateral: Collateral::Snp(collateral) })
            }
            (2, [None, None, None]) => Ok(Self { evidence: Evidence::Nitro(evidence), collateral: Collateral::Nitro }),
            (3, [None, None, None]) => {
                Ok(Self { evidence: Evidence::Simulated(evidence), collateral: Collateral::Simulated })
            }
            (0..=3, _) => Err(malformed("its fields are not those of its kind")),
            (4.., _) => Err(Reason::Unsupported { piece: Piece::Evidence, detail: "another kind of stapled evidence" }),
        }
    }
}

/// **Errors:** [`Reason::TooLong`].
pub(crate) fn bounded(piece: Piece, bytes: &[u8], limit: usize) -> Result<(), Reason> {
    match bytes.len() > limit {
        true => Err(Reason::TooLong { piece, bytes: bytes.len(), limit }),
        false => Ok(()),
    }
}

fn field(rest: &mut &[u8]) -> Result<Option<Vec<u8>>, Reason> {
    let cut = || malformed("it is cut off");
    let (head, tail) = rest.split_first_chunk::<5>().ok_or_else(cut)?;
    let [present, length @ ..] = *head;
    let length = u32::from_le_bytes(length) as usize;
    let (field, tail) = tail.split_at_checked(length).ok_or_else(cut)?;
    *rest = tail;
    match (present, length) {
        (1, _) => Ok(Some(field.to_vec())),
        (0, 0) => Ok(None),
        _ => Err(malformed("a field is neither there nor absent")),
    }
}

fn malformed(detail: &'static str) -> Reason {
    Reason::Malformed { piece: Piece::Evidence, detail }
}

const MAGIC: &[u8; 8] = b"SROEVID1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;
    use proptest::prelude::*;

    fn stapled() -> [Stapled; 3] {
        [vectors::tdx(), vectors::snp(), vectors::nitro()]
            .map(|s| Stapled { evidence: s.evidence, collateral: s.collateral })
    }

    #[test]
    fn kinds_are_recognised_by_their_bytes() {
        for sample in [vectors::sgx(), vectors::tdx(), vectors::tdx15(), vectors::snp(), vectors::nitro()] {
            assert_eq!(Evidence::recognise(sample.evidence.bytes()), Ok(sample.evidence));
        }
        for bytes in [&b""[..], b"GIF89a", &[0; 1184], &stapled()[0].to_bytes()] {
            assert_eq!(Evidence::recognise(bytes).unwrap_err().code(), "unsupported");
        }
        assert_eq!(Evidence::recognise(&vec![3; MAX_EVIDENCE + 1]).unwrap_err().code(), "too-long");
    }

    #[test]
    fn stapled_evidence_comes_back() {
        for stapled in stapled() {
            let bytes = stapled.to_bytes();
            assert_eq!(Stapled::from_bytes(&bytes), Ok(stapled));
            for length in (0..bytes.len()).step_by(37).chain([bytes.len() - 1]) {
                assert_eq!(Stapled::from_bytes(&bytes[..length]).unwrap_err().code(), "malformed", "{length} bytes");
            }
            assert!(Stapled::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
        }
        let with_list =
            SnpCollateral { certificate: vec![1], intermediate: Some(Vec::new()), revocation_list: Some(vec![2, 3]) };
        let stapled = Stapled { evidence: Evidence::Snp(vec![4]), collateral: Collateral::Snp(with_list) };
        assert_eq!(Stapled::from_bytes(&stapled.to_bytes()), Ok(stapled));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(tail in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Stapled::from_bytes(&[MAGIC, &tail[..]].concat());
            let _ = Evidence::recognise(&tail);
        }
    }
}
