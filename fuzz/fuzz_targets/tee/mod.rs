//! Genuine evidence to damage.

use subrosa_tee::Stapled;

/// Stapled evidence, one of five by `which`, and a second at which it is valid.
pub fn sample(which: u8) -> (Vec<u8>, u64) {
    let stapled = |evidence: &[u8], collateral: Option<&[u8]>| {
        Stapled::import(evidence, collateral, None).expect("genuine evidence is recognised").to_bytes()
    };
    match which % 5 {
        0 => {
            let collateral = include_bytes!("../../../crates/tee/vectors/dcap/sgx_quote_collateral.json");
            let quote = include_bytes!("../../../crates/tee/vectors/dcap/sgx_quote");
            (stapled(quote, Some(collateral)), 1_750_400_000)
        }
        1 => {
            let collateral = include_bytes!("../../../crates/tee/vectors/dcap/tdx_quote_collateral.json");
            let quote = include_bytes!("../../../crates/tee/vectors/dcap/tdx_quote");
            (stapled(quote, Some(collateral)), 1_750_400_000)
        }
        2 => {
            let collateral = include_bytes!("../../../crates/tee/vectors/dcap/tdx_quote_td15ex_collateral.json");
            let quote = include_bytes!("../../../crates/tee/vectors/dcap/tdx_quote_td15ex");
            (stapled(quote, Some(collateral)), 1_791_500_000)
        }
        3 => {
            let certificate = include_bytes!("../../../crates/tee/vectors/snp/vcek_milan.der");
            let report = include_bytes!("../../../crates/tee/vectors/snp/report_milan.hex");
            (stapled(report, Some(certificate)), 1_750_000_000)
        }
        _ => (stapled(include_bytes!("../../../crates/tee/vectors/nitro/document.cose"), None), 1_736_179_625),
    }
}

/// `bytes` with each triple of `edits` done to it: two bytes of place, in 65,536ths of the length,
/// and one to add there.
pub fn damaged(bytes: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for edit in edits.chunks_exact(3).take(16) {
        let place = usize::from(u16::from_le_bytes([edit[0], edit[1]])) * out.len() / 65_536;
        out[place] = out[place].wrapping_add(edit[2]);
    }
    out
}
