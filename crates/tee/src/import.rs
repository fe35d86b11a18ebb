//! Evidence and collateral in the forms in which other tools leave them.

use crate::evidence::{Collateral, Evidence, MAX_COLLATERAL, MAX_EVIDENCE, SnpCollateral, Stapled, bounded};
use crate::names::Piece;
use crate::reason::Reason;
use x509_parser::pem::Pem;

impl Stapled {
    /// Takes evidence of whatever kind `bytes` hold: stapled already, bare, or bare in
    /// hexadecimal digits. `collateral` is what the kind needs: the JSON of a PCCS client for
    /// SGX and TDX, certificates (PEM, or one in DER) and a revocation list for SEV-SNP,
    /// nothing for Nitro or where it is stapled.
    ///
    /// **Errors:** [`Reason::Malformed`], [`Reason::Unsupported`], [`Reason::TooLong`],
    /// [`Reason::WrongCollateral`] where it is missing or not needed.
    pub fn import(bytes: &[u8], collateral: Option<&[u8]>, revocation_list: Option<&[u8]>) -> Result<Self, Reason> {
        bounded(Piece::Evidence, bytes, 2 * MAX_EVIDENCE + MAX_COLLATERAL)?;
        if Self::starts(bytes) {
            let alone = collateral.is_none() && revocation_list.is_none();
            return if alone { Self::from_bytes(bytes) } else { Err(Reason::WrongCollateral) };
        }
        let evidence = match unhex(bytes) {
            Some(binary) => Evidence::recognise(&binary)?,
            None => Evidence::recognise(bytes)?,
        };
        let collateral = match (&evidence, collateral, revocation_list) {
            (Evidence::Dcap(_), Some(json), None) => Collateral::Dcap(json.to_vec()),
            (Evidence::Snp(_), Some(certificates), list) => Collateral::Snp(snp(certificates, list)?),
            (Evidence::Nitro(_), None, None) => Collateral::Nitro,
            (Evidence::Simulated(_), None, None) => Collateral::Simulated,
            (Evidence::Dcap(_), _, _)
            | (Evidence::Snp(_), None, _)
            | (Evidence::Nitro(_) | Evidence::Simulated(_), _, _) => return Err(Reason::WrongCollateral),
        };
        Ok(Self { evidence, collateral })
    }
}

/// The first certificate is the signing key's; one after it that is not a root is what issued
/// it. Those of AMD that are built in do no harm here.
fn snp(certificates: &[u8], revocation_list: Option<&[u8]>) -> Result<SnpCollateral, Reason> {
    bounded(Piece::Collateral, certificates, MAX_COLLATERAL)?;
    let pem: Vec<Vec<u8>> = Pem::iter_from_buffer(certificates).map_while(Result::ok).map(|p| p.contents).collect();
    let mut ders = if pem.is_empty() { vec![certificates.to_vec()] } else { pem }.into_iter();
    let certificate = ders.next().ok_or(Reason::Malformed { piece: Piece::ChipChain, detail: "it is empty" })?;
    Ok(SnpCollateral { certificate, intermediate: ders.next(), revocation_list: revocation_list.map(<[u8]>::to_vec) })
}

/// The bytes of a text of nothing but hexadecimal digits.
fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    let nibble = |c: &u8| char::from(*c).to_digit(16).map(|v| v as u8);
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(nibble(high)? << 4 | nibble(low)?),
        _ => None,
    };
    if text.is_empty() { None } else { text.chunks(2).map(byte).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{authenticate, vectors};

    #[test]
    fn evidence_is_taken_as_other_tools_leave_it() {
        let hex = include_bytes!("../vectors/snp/report_milan.hex");
        let der = include_bytes!("../vectors/snp/vcek_milan.der");
        let stapled = Stapled::import(hex, Some(der), None).unwrap();
        assert!(authenticate(&stapled.evidence, &stapled.collateral, vectors::snp().now).is_ok());
        let bytes = stapled.to_bytes();
        assert_eq!(Stapled::import(&bytes[..bytes.len() - 1], None, None).unwrap_err().code(), "malformed");
        assert_eq!(Stapled::import(&bytes, Some(der), None), Err(Reason::WrongCollateral));
        assert_eq!(Stapled::import(&bytes, None, None), Ok(stapled));

        let pem = include_bytes!("../vectors/snp/azure_certs.pem");
        let stapled = Stapled::import(hex, Some(pem), None).unwrap();
        let refused = authenticate(&stapled.evidence, &stapled.collateral, vectors::snp().now).unwrap_err();
        assert_eq!(refused.code(), "signature", "the chip is another one");

        let quote = include_bytes!("../vectors/dcap/tdx_quote");
        assert_eq!(Stapled::import(quote, None, None), Err(Reason::WrongCollateral));
        assert_eq!(Stapled::import(hex, None, None), Err(Reason::WrongCollateral));
        assert_eq!(Stapled::import(b"f", None, None).unwrap_err().code(), "unsupported");
        let nitro = include_bytes!("../vectors/nitro/document.cose");
        assert_eq!(Stapled::import(nitro, None, None).unwrap().collateral, Collateral::Nitro);
        assert_eq!(Stapled::import(nitro, Some(der), None), Err(Reason::WrongCollateral));
    }
}
