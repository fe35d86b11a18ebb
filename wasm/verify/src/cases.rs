//! Genuine evidence at its date and others, and damage done to it.

use std::fmt::Write;
use subrosa_tee::{Stapled, authenticate};

macro_rules! vector {
    ($name:literal) => {
        include_bytes!(concat!("../../../crates/tee/vectors/", $name))
    };
}

/// Name, evidence, collateral, a second at which it is valid.
type Sample = (&'static str, &'static [u8], Option<&'static [u8]>, u64);

const SAMPLES: [Sample; 6] = [
    ("sgx", vector!("dcap/sgx_quote"), Some(vector!("dcap/sgx_quote_collateral.json")), 1_750_400_000),
    ("tdx", vector!("dcap/tdx_quote"), Some(vector!("dcap/tdx_quote_collateral.json")), 1_750_400_000),
    ("outdated", vector!("dcap/tdx_quote_outdated"), Some(vector!("dcap/tdx_quote_outdated_collateral.json")), 1_771_500_000),
    ("tdx15", vector!("dcap/tdx_quote_td15ex"), Some(vector!("dcap/tdx_quote_td15ex_collateral.json")), 1_791_500_000),
    ("snp", vector!("snp/report_milan.hex"), Some(vector!("snp/vcek_milan.der")), 1_750_000_000),
    ("nitro", vector!("nitro/document.cose"), None, 1_736_179_625),
];

/// One line a case: its name, and `authentic` with the claims or the reason's code and words.
pub fn verdicts() -> String {
    let mut out = String::new();
    for (name, evidence, collateral, at) in SAMPLES {
        for (what, now) in [("then", at), ("later", at + 400_000_000), ("before", 0)] {
            line(&mut out, &format!("{name} {what}"), evidence, collateral, now);
        }
        for place in (0..evidence.len()).step_by(61) {
            let mut changed = evidence.to_vec();
            changed[place] ^= 1 << (place % 8);
            line(&mut out, &format!("{name} byte {place}"), &changed, collateral, at);
        }
        for length in (0..evidence.len()).step_by(487) {
            line(&mut out, &format!("{name} cut {length}"), &evidence[..length], collateral, at);
        }
        for place in (0..collateral.map_or(0, <[u8]>::len)).step_by(997) {
            let mut changed = collateral.unwrap_or_default().to_vec();
            changed[place] ^= 1 << (place % 8);
            line(&mut out, &format!("{name} collateral {place}"), evidence, Some(&changed), at);
        }
        for (other, _, swapped, _) in SAMPLES {
            line(&mut out, &format!("{name} with {other}'s"), evidence, swapped, at);
        }
    }
    out
}

fn line(out: &mut String, case: &str, evidence: &[u8], collateral: Option<&[u8]>, now: u64) {
    let verdict = Stapled::import(evidence, collateral, None)
        .and_then(|stapled| authenticate(&stapled.evidence, &stapled.collateral, now));
    let _ = match verdict {
        Ok(claims) => writeln!(out, "{case}: authentic, {:?}", claims.facts()),
        Err(reason) => writeln!(out, "{case}: {}: {reason}", reason.code()),
    };
}
