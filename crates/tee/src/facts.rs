//! Claims as lines of a report.

use crate::claims::{Claims, IntelPlatform, NitroClaims, SgxClaims, SnpClaims, TdxClaims};
use crate::date;
use crate::policy::hex;

type Fact = (String, String);

impl Claims {
    /// Each claim by name, hashes in hexadecimal, in a fixed order.
    pub fn facts(&self) -> Vec<(String, String)> {
        let mut facts = match self {
            Self::Sgx(claims) => sgx(claims),
            Self::Tdx(claims) => tdx(claims),
            Self::Snp(claims) => snp(claims),
            Self::Nitro(claims) => nitro(claims),
        };
        facts.push(fact("valid until", date::text(self.valid_until())));
        facts
    }
}

fn sgx(c: &SgxClaims) -> Vec<Fact> {
    let own = [
        fact("mrenclave", hex(&c.mrenclave)),
        fact("mrsigner", hex(&c.mrsigner)),
        fact("isv_prod_id", c.isv_prod_id),
        fact("isv_svn", c.isv_svn),
        fact("attributes", hex(&c.attributes)),
        fact("misc_select", c.misc_select),
        fact("config_id", hex(&c.config_id)),
        fact("config_svn", c.config_svn),
        fact("debug", yes(c.debug)),
        fact("report data", hex(&c.report_data)),
    ];
    own.into_iter().chain(intel(&c.intel)).collect()
}

fn tdx(c: &TdxClaims) -> Vec<Fact> {
    let rtmr = (0..).zip(&c.rtmr).map(|(n, value): (u8, _)| fact(&format!("rtmr{n}"), hex(value)));
    let own = [
        fact("mrconfigid", hex(&c.mrconfigid)),
        fact("mrowner", hex(&c.mrowner)),
        fact("mrownerconfig", hex(&c.mrownerconfig)),
        fact("mrseam", hex(&c.mrseam)),
        fact("attributes", hex(&c.attributes)),
        fact("xfam", hex(&c.xfam)),
        fact("debug", yes(c.debug)),
        fact("service machines", yes(c.service_td)),
        fact("report data", hex(&c.report_data)),
    ];
    [fact("mrtd", hex(&c.mrtd))].into_iter().chain(rtmr).chain(own).chain(intel(&c.intel)).collect()
}

fn intel(p: &IntelPlatform) -> [Fact; 6] {
    let flag = |flag: Option<bool>| flag.map_or("not stated", yes);
    let advisories = if p.advisories.is_empty() { "none".to_owned() } else { p.advisories.join(", ") };
    [
        fact("tcb status", p.status),
        fact("advisories", advisories),
        fact("tcb evaluation", p.tcb_evaluation),
        fact("hyper-threading", flag(p.smt)),
        fact("packages can be added", flag(p.dynamic_platform)),
        fact("vendor keeps root keys", flag(p.cached_keys)),
    ]
}

fn snp(c: &SnpClaims) -> Vec<Fact> {
    let t = c.reported_tcb;
    let tcb = format!(
        "fmc {}, boot loader {}, security processor {}, firmware {}, microcode {}",
        t.fmc, t.bootloader, t.tee, t.snp, t.microcode
    );
    vec![
        fact("chip family", format!("{:?}", c.product).to_lowercase()),
        fact("signed by", if c.signer == crate::claims::SnpSigner::Chip { "vcek" } else { "vlek" }),
        fact("measurement", hex(&c.measurement)),
        fact("host data", hex(&c.host_data)),
        fact("id key digest", hex(&c.id_key_digest)),
        fact("family", hex(&c.family_id)),
        fact("image", hex(&c.image_id)),
        fact("guest version", c.guest_svn),
        fact("vmpl", c.vmpl),
        fact("debug", yes(c.debug)),
        fact("migration agent", yes(c.migration)),
        fact("hyper-threading", yes(c.smt)),
        fact("tcb", tcb),
        fact("report data", hex(&c.report_data)),
        fact("revocation list", if c.revocation_checked { "looked at" } else { "none came with it" }),
    ]
}

fn nitro(c: &NitroClaims) -> Vec<Fact> {
    let pcrs = (0..).zip(&c.pcrs).filter_map(|(n, pcr): (u8, _)| Some(fact(&format!("pcr{n}"), hex(&(*pcr)?))));
    let optional = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or("none".to_owned(), |b| hex(b));
    let own = [
        fact("debug", yes(c.debug())),
        fact("user data", optional(&c.user_data)),
        fact("nonce", optional(&c.nonce)),
        fact("public key", optional(&c.public_key)),
    ];
    let made = [fact("module", c.module_id.escape_debug()), fact("made at", date::text(c.timestamp_ms / 1000))];
    made.into_iter().chain(pcrs).chain(own).collect()
}

fn fact(name: &str, value: impl ToString) -> Fact {
    (name.to_owned(), value.to_string())
}

fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use crate::authenticate;
    use crate::vectors;

    #[test]
    fn every_platform_has_facts_of_one_line() {
        for sample in [vectors::sgx(), vectors::tdx(), vectors::tdx15(), vectors::snp(), vectors::nitro()] {
            let facts = authenticate(&sample.evidence, &sample.collateral, sample.now).unwrap().facts();
            assert!(facts.len() >= 8);
            assert!(facts.iter().all(|(name, value)| !name.is_empty() && !value.contains('\n')));
        }
    }
}
