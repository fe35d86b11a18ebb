//! The table of certificates that a host gives to its SEV-SNP guests.
//!
//! **Source:** AMD 56421, "SEV-ES Guest-Hypervisor Communication Block Standardization",
//! §4.1.8.1: entries of a GUID, an offset and a length, up to one of zeros.

use crate::evidence::{MAX_COLLATERAL, SnpCollateral, bounded};
use crate::names::Piece;
use crate::reason::Reason;

impl SnpCollateral {
    /// Takes the certificates out of a host's table (`auxblob` of Linux' configfs-tsm).
    ///
    /// **Errors:** [`Reason::Malformed`], also where the signing key's certificate is missing:
    /// some hosts give none, and it has to be fetched from AMD; [`Reason::TooLong`].
    pub fn from_table(table: &[u8]) -> Result<Self, Reason> {
        bounded(Piece::Collateral, table, MAX_COLLATERAL)?;
        let mut collateral = Self::default();
        for entry in table.chunks_exact(24).take_while(|entry| entry.iter().any(|b| *b != 0)).take(MOST_ENTRIES) {
            let (guid, place) = entry.split_at(16);
            let data = slice(table, place).ok_or(malformed("its table points outside itself"))?;
            match guid {
                VCEK | VLEK => collateral.certificate = data.to_vec(),
                ASK => collateral.intermediate = Some(data.to_vec()),
                CRL => collateral.revocation_list = Some(data.to_vec()),
                // The root is ours, whatever the host's is.
                _ => {}
            }
        }
        match collateral.certificate.is_empty() {
            true => Err(malformed("its table holds no certificate of the signing key")),
            false => Ok(collateral),
        }
    }
}

/// What an entry's offset and length point to.
fn slice<'a>(table: &'a [u8], place: &[u8]) -> Option<&'a [u8]> {
    let (offset, rest) = place.split_first_chunk::<4>()?;
    let length = rest.first_chunk::<4>()?;
    let (offset, length) = (u32::from_le_bytes(*offset) as usize, u32::from_le_bytes(*length) as usize);
    table.get(offset..)?.get(..length)
}

fn malformed(detail: &'static str) -> Reason {
    Reason::Malformed { piece: Piece::Collateral, detail }
}

const MOST_ENTRIES: usize = 64;

const VCEK: &[u8] = &[0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd];
const VLEK: &[u8] = &[0xa8, 0x07, 0x4b, 0xc2, 0xa2, 0x5a, 0x48, 0x3e, 0xaa, 0xe6, 0x39, 0xc0, 0x45, 0xa0, 0xb8, 0xa1];
const ASK: &[u8] = &[0x4a, 0xb7, 0xb3, 0x79, 0xbb, 0xac, 0x4f, 0xe4, 0xa0, 0x2f, 0x05, 0xae, 0xf3, 0x27, 0xc7, 0x82];
const CRL: &[u8] = &[0x92, 0xf8, 0x1b, 0xc3, 0x58, 0x11, 0x4d, 0x3d, 0x97, 0xff, 0xd1, 0x9f, 0x88, 0xdc, 0x67, 0xea];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Collateral, authenticate, vectors};
    use proptest::prelude::*;

    fn table(entries: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut head = Vec::new();
        let mut at = 24 * (entries.len() + 1);
        for (guid, data) in entries {
            head.extend(*guid);
            head.extend((at as u32).to_le_bytes());
            head.extend((data.len() as u32).to_le_bytes());
            at += data.len();
        }
        head.extend([0; 24]);
        entries.iter().for_each(|(_, data)| head.extend(*data));
        head
    }

    #[test]
    fn certificates_come_out_of_the_table() {
        let vcek = include_bytes!("../../vectors/snp/vcek_milan.der");
        let ask = include_bytes!("../../roots/amd_ask_milan.der");
        let collateral = SnpCollateral::from_table(&table(&[(&[1; 16], b"?"), (VCEK, vcek), (ASK, ask)])).unwrap();
        assert_eq!(collateral.intermediate.as_deref(), Some(&ask[..]));
        let sample = vectors::snp();
        assert!(authenticate(&sample.evidence, &Collateral::Snp(collateral), sample.now).is_ok());
        assert_eq!(SnpCollateral::from_table(&table(&[(ASK, ask)])).unwrap_err().code(), "malformed");
        assert_eq!(SnpCollateral::from_table(&[]).unwrap_err().code(), "malformed");
        let whole = table(&[(VCEK, vcek)]);
        assert_eq!(SnpCollateral::from_table(&whole[..whole.len() - 1]).unwrap_err().code(), "malformed");
    }

    proptest! {
        #[test]
        fn no_table_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = SnpCollateral::from_table(&[VCEK, &bytes].concat());
        }
    }
}
