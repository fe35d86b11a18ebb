//! The bytes of an SEV-SNP report.

use crate::claims::{SnpClaims, SnpProduct, SnpSigner, SnpTcb};
use crate::names::Piece;
use crate::reason::Reason;
use p384::ecdsa::signature::Verifier;
use p384::ecdsa::{Signature, VerifyingKey};

/// Bytes of a report.
pub(crate) const REPORT_BYTES: usize = 1184;

/// Bytes that the signature covers.
const SIGNED_BYTES: usize = 0x2a0;

/// A report of a known version, signed by an algorithm that we know; the signature is not
/// checked yet.
pub(super) struct Report<'a> {
    bytes: &'a [u8; REPORT_BYTES],
    signer: SnpSigner,
}

impl<'a> Report<'a> {
    /// **Errors:** [`Reason::Malformed`], [`Reason::Unsupported`].
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Reason> {
        let piece = Piece::Report;
        let bytes = bytes.try_into().map_err(|_| Reason::Malformed { piece, detail: "it has not 1184 bytes" })?;
        let mut report = Self { bytes, signer: SnpSigner::Chip };
        if !(2..=5).contains(&report.u32(0)) {
            return Err(Reason::Unsupported { piece, detail: "its version is not 2 to 5" });
        }
        if report.u32(0x34) != ECDSA_P384_SHA384 {
            return Err(Reason::Unsupported { piece, detail: "it is not signed by ECDSA P-384 with SHA-384" });
        }
        report.signer = match report.flags() >> 2 & 7 {
            0 => SnpSigner::Chip,
            1 => SnpSigner::Provider,
            _ => return Err(Reason::Unsupported { piece, detail: "no key that we know has signed it" }),
        };
        Ok(report)
    }

    /// Checks the signature over the bytes as they came.
    ///
    /// **Errors:** [`Reason::Signature`]; [`Reason::Malformed`] for a key on another curve.
    pub(super) fn verify(&self, key: &[u8]) -> Result<(), Reason> {
        let wrong = Reason::Signature { piece: Piece::Report };
        let key = VerifyingKey::from_sec1_bytes(key)
            .map_err(|_| Reason::Malformed { piece: Piece::ChipChain, detail: "its key is not on P-384" })?;
        let (signed, signature) = self.bytes.split_at(SIGNED_BYTES);
        // r and s: little-endian numbers in 72 bytes each; what follows is reserved and not
        // covered by anything.
        let number = |at: usize| -> Option<[u8; 48]> {
            let (low, high) = signature.get(at..at + 72)?.split_first_chunk::<48>()?;
            let mut number = *low;
            number.reverse();
            high.iter().all(|b| *b == 0).then_some(number)
        };
        let (Some(r), Some(s)) = (number(0), number(72)) else { return Err(wrong) };
        let signature = Signature::from_scalars(r, s).map_err(|_| wrong.clone())?;
        key.verify(signed, &signature).map_err(|_| wrong)
    }

    pub(super) fn signer(&self) -> SnpSigner {
        self.signer
    }

    pub(super) fn chip_id(&self) -> &[u8] {
        self.field::<64>(0x1a0)
    }

    /// Whether the host hides the chip's identifier, which is zero then. The signature still
    /// shows which chip it is.
    pub(super) fn chip_masked(&self) -> bool {
        self.chip_id().iter().all(|b| *b == 0)
    }

    /// The level that the signing key vouches for.
    pub(super) fn tcb(&self, product: SnpProduct) -> SnpTcb {
        let [b0, b1, b2, b3, _, _, b6, b7] = *self.field(0x180);
        match product {
            SnpProduct::Milan | SnpProduct::Genoa => SnpTcb { fmc: 0, bootloader: b0, tee: b1, snp: b6, microcode: b7 },
            SnpProduct::Turin => SnpTcb { fmc: b0, bootloader: b1, tee: b2, snp: b3, microcode: b7 },
        }
    }

    /// Everything that the report itself says.
    pub(super) fn claims(&self, product: SnpProduct, reported_tcb: SnpTcb) -> SnpClaims {
        let policy = u64::from_le_bytes(*self.field(8));
        let platform = u64::from_le_bytes(*self.field(0x40));
        SnpClaims {
            version: self.u32(0),
            product,
            signer: self.signer,
            measurement: *self.field(0x90),
            host_data: *self.field(0xc0),
            id_key_digest: *self.field(0xe0),
            vmpl: self.u32(0x30),
            guest_svn: self.u32(4),
            family_id: *self.field(0x10),
            image_id: *self.field(0x20),
            debug: policy >> 19 & 1 == 1,
            migration: policy >> 18 & 1 == 1,
            smt_allowed: policy >> 16 & 1 == 1,
            smt: platform & 1 == 1,
            reported_tcb,
            chip_id: *self.field(0x1a0),
            report_data: *self.field(0x50),
            revocation_checked: false,
            valid_until: 0,
        }
    }

    fn flags(&self) -> u32 {
        self.u32(0x48)
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(*self.field(at))
    }

    /// The field at a constant offset of the layout, which all end below [`REPORT_BYTES`].
    fn field<const N: usize>(&self, at: usize) -> &[u8; N] {
        const { assert!(N <= 64, "no field is longer") };
        self.bytes.get(at..).and_then(|rest| rest.first_chunk()).unwrap_or(&[0; N])
    }
}

const ECDSA_P384_SHA384: u32 = 1;
