//! Genuine recorded evidence; `vectors/README.md` says where it comes from.

use crate::evidence::{Collateral, Evidence, SnpCollateral};

/// Evidence, its collateral, and a second at which all of it was valid.
pub(crate) struct Sample {
    pub(crate) evidence: Evidence,
    pub(crate) collateral: Collateral,
    pub(crate) now: u64,
}

fn dcap(quote: &[u8], collateral: &[u8], now: u64) -> Sample {
    Sample { evidence: Evidence::Dcap(quote.to_vec()), collateral: Collateral::Dcap(collateral.to_vec()), now }
}

/// SGX, quote version 3.
pub(crate) fn sgx() -> Sample {
    let quote = include_bytes!("../vectors/dcap/sgx_quote");
    dcap(quote, include_bytes!("../vectors/dcap/sgx_quote_collateral.json"), 1_750_400_000)
}

/// TDX 1.0, quote version 4.
pub(crate) fn tdx() -> Sample {
    let quote = include_bytes!("../vectors/dcap/tdx_quote");
    dcap(quote, include_bytes!("../vectors/dcap/tdx_quote_collateral.json"), 1_750_400_000)
}

/// TDX on a platform below every level.
pub(crate) fn tdx_outdated() -> Sample {
    let quote = include_bytes!("../vectors/dcap/tdx_quote_outdated");
    dcap(quote, include_bytes!("../vectors/dcap/tdx_quote_outdated_collateral.json"), 1_771_500_000)
}

/// TDX 1.5, quote version 5, body of type 4.
pub(crate) fn tdx15() -> Sample {
    let quote = include_bytes!("../vectors/dcap/tdx_quote_td15ex");
    dcap(quote, include_bytes!("../vectors/dcap/tdx_quote_td15ex_collateral.json"), 1_791_500_000)
}

/// SEV-SNP on Milan, report version 2.
pub(crate) fn snp() -> Sample {
    let hex = include_str!("../vectors/snp/report_milan.hex").trim().as_bytes();
    let nibble = |c: &u8| char::from(*c).to_digit(16).unwrap() as u8;
    let report = hex.chunks(2).map(|pair| nibble(&pair[0]) << 4 | nibble(&pair[1])).collect();
    let certificate = include_bytes!("../vectors/snp/vcek_milan.der").to_vec();
    let collateral = SnpCollateral { certificate, ..SnpCollateral::default() };
    Sample { evidence: Evidence::Snp(report), collateral: Collateral::Snp(collateral), now: 1_750_000_000 }
}

/// SEV-SNP on Milan at Azure, with the certificate of another chip.
pub(crate) fn snp_azure() -> Sample {
    let hcl = include_bytes!("../vectors/snp/azure_hcl_report.bin");
    let report = hcl[0x20..0x20 + crate::snp::REPORT_BYTES].to_vec();
    let pem = include_bytes!("../vectors/snp/azure_certs.pem");
    let first = x509_parser::pem::Pem::iter_from_buffer(pem).next().unwrap().unwrap();
    let collateral = SnpCollateral { certificate: first.contents, ..SnpCollateral::default() };
    Sample { evidence: Evidence::Snp(report), collateral: Collateral::Snp(collateral), now: 1_750_000_000 }
}

/// An AWS Nitro enclave.
pub(crate) fn nitro() -> Sample {
    let document = include_bytes!("../vectors/nitro/document.cose").to_vec();
    Sample { evidence: Evidence::Nitro(document), collateral: Collateral::Nitro, now: 1_736_179_625 }
}
