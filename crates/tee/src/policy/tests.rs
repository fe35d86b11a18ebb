//! Signatures, forms, and each rule against claims that break it.

use super::*;
use crate::claims::{
    IntelPlatform, NitroClaims, SgxClaims, SnpClaims, SnpProduct, SnpSigner, SnpTcb, TcbStatus, TdxClaims,
};
use crate::names::{Flag, Level, Register};
use crate::verify::tests::signed;

const NOW: u64 = 1_795_392_000;

fn head(rules: &str) -> String {
    format!("version = 1\nname = \"a\"\nserial = 3\n{rules}\n")
}

fn key() -> OwnerKey {
    OwnerKey::from_bytes(&[9; 32])
}

#[test]
fn a_signed_policy_comes_back_and_a_changed_one_does_not() {
    let draft = Draft::read(&head("# a comment")).unwrap();
    let text = draft.sign(&key());
    let signer = key().public();
    let policy = Policy::open(&text, &[OwnerKey::from_bytes(&[1; 32]).public(), signer]).unwrap();
    assert_eq!((policy.name(), policy.serial()), ("a", 3));
    assert!(toml::from_str::<toml::Table>(&text).is_ok(), "still TOML");
    assert_ne!(policy.id(), signed("").id());
    for at in 0..text.len() - 1 {
        let mut changed = text.clone().into_bytes();
        changed[at] ^= 1;
        // Hexadecimal digits of either case say the same.
        let Ok(changed) = String::from_utf8(changed) else { continue };
        assert!(Policy::open(&changed, &[signer]).is_err(), "byte {at}: {changed}");
    }
    let by_another = draft.sign(&OwnerKey::from_bytes(&[1; 32]));
    assert!(matches!(Policy::open(&by_another, &[signer]), Err(Error::PolicySignature(_))));
    assert!(matches!(Policy::open(&head(""), &[signer]), Err(Error::PolicySignature(_))));
    assert!(matches!(Policy::open("", &[signer]), Err(Error::PolicySignature(_))));
    assert!(matches!(Policy::open(&"#".repeat(MAX_BYTES + 1), &[signer]), Err(Error::Policy(_))));
}

#[test]
fn forms_that_would_trust_by_accident_are_refused() {
    let zero = "00".repeat(48);
    for rules in [
        "[sgx]",
        "[sgx]\nmrenclave = []",
        "[sgx]\nmrenclave = [\"00\"]",
        "[sgx]\nmrenclave = [\"zz\"]",
        "[sgx]\nmrenclave = [\"0000000000000000000000000000000000000000000000000000000000000000\"]\ndebug = true",
        "[sgx]\nmrsigner = [\"\"]",
        "[tdx]\nmrtd = [\"00\"]",
        "[snp]\nmeasurement = []",
        "[nitro.pcr]\n",
        "[nitro]\nmax_age_s = 1",
        "[gpu]\n",
        "allow_simulated = \"yes\"",
        "alow_simulated = true",
    ] {
        assert!(matches!(Draft::read(&head(rules)), Err(Error::Policy(_))), "{rules}");
    }
    let two = format!("[nitro.pcr]\n0 = [\"{zero}\"]\n1 = [\"{zero}\"]\n");
    assert!(Draft::read(&head(&two)).is_err());
    assert!(Draft::read(&head(&format!("{two}2 = [\"{zero}\"]\n32 = [\"{zero}\"]"))).is_err());
    assert!(Draft::read(&head(&format!("{two}2 = [\"{zero}\"]\n"))).is_ok());
    assert!(Draft::read("version = 2\nname = \"a\"\nserial = 1\n").is_err());
}

fn intel() -> IntelPlatform {
    IntelPlatform {
        status: TcbStatus::UpToDate,
        advisories: vec![],
        tcb_evaluation: 17,
        fmspc: [0; 6],
        dynamic_platform: Some(false),
        cached_keys: None,
        smt: Some(false),
        valid_until: NOW,
    }
}

fn sgx() -> SgxClaims {
    SgxClaims {
        mrenclave: [1; 32],
        mrsigner: [2; 32],
        isv_prod_id: 3,
        isv_svn: 4,
        debug: false,
        attributes: [5, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0],
        misc_select: 0,
        config_id: [0; 64],
        config_svn: 0,
        report_data: [0; 64],
        intel: intel(),
    }
}

fn by_enclave() -> String {
    format!(
        "[sgx]\nmrenclave = [\"{}\", \"{}\"]\n[sgx.platform]\nleast_tcb_evaluation = 17\n",
        "01".repeat(32),
        "07".repeat(32)
    )
}

fn judge_sgx(rules: &str, change: impl FnOnce(&mut SgxClaims)) -> Result<(), Reason> {
    let mut claims = sgx();
    change(&mut claims);
    signed(rules).judge(&Claims::Sgx(claims), NOW)
}

#[test]
fn sgx_rules() {
    let rules = by_enclave();
    assert_eq!(judge_sgx(&rules, |_| {}), Ok(()));
    assert_eq!(judge_sgx(&rules, |c| c.debug = true), Err(Reason::Debug));
    let found = format!("02{}", "01".repeat(31));
    let other = Reason::Measurement { register: Register::Mrenclave, found };
    assert_eq!(judge_sgx(&rules, |c| c.mrenclave[0] = 2), Err(other));
    let old = Reason::BelowLevel { level: Level::TcbEvaluation, found: 16, least: 17 };
    assert_eq!(judge_sgx(&rules, |c| c.intel.tcb_evaluation = 16), Err(old));

    let by_signer = format!("[sgx.signer]\nmrsigner = \"{}\"\nisv_prod_id = 3\nleast_isv_svn = 4", "02".repeat(32));
    assert_eq!(judge_sgx(&by_signer, |c| c.isv_svn = 5), Ok(()));
    let low = Reason::BelowLevel { level: Level::IsvSvn, found: 3, least: 4 };
    assert_eq!(judge_sgx(&by_signer, |c| c.isv_svn = 3), Err(low));
    assert_eq!(judge_sgx(&by_signer, |c| c.isv_prod_id = 4).unwrap_err().code(), "measurement");
    assert_eq!(judge_sgx(&by_signer, |c| c.mrsigner[0] = 4).unwrap_err().code(), "measurement");
}

#[test]
fn a_status_is_accepted_by_name_and_each_advisory_too() {
    use TcbStatus as S;
    let all = [
        S::OutOfDateConfigurationNeeded,
        S::OutOfDate,
        S::ConfigurationAndSWHardeningNeeded,
        S::ConfigurationNeeded,
        S::SWHardeningNeeded,
        S::Revoked,
        S::TDRelaunchAdvised,
        S::TDRelaunchAdvisedConfigurationNeeded,
    ];
    for status in all {
        let refused = judge_sgx(&by_enclave(), |c| c.intel.status = status);
        assert_eq!(refused, Err(Reason::TcbStatus { status }));
        let rules = format!("{}tcb_status = [\"{status}\"]\nadvisories = [\"INTEL-SA-00615\"]", by_enclave());
        let listed = judge_sgx(&rules, |c| {
            c.intel.status = status;
            c.intel.advisories = vec!["INTEL-SA-00615".to_owned()];
        });
        assert_eq!(listed.is_ok(), status != S::Revoked, "{status}: a revoked platform is never accepted");
    }
    let unnamed = judge_sgx(&by_enclave(), |c| c.intel.advisories = vec!["INTEL-SA-00289".to_owned()]);
    assert_eq!(unnamed, Err(Reason::Advisory { id: "INTEL-SA-00289".to_owned() }));
}

#[test]
fn properties_of_intel_platforms_are_allowed_by_name() {
    type Case = (Flag, &'static str, fn(&mut IntelPlatform));
    let cases: [Case; 3] = [
        (Flag::Smt, "allow_smt", |i| i.smt = Some(true)),
        (Flag::DynamicPlatform, "allow_dynamic_platform", |i| i.dynamic_platform = Some(true)),
        (Flag::CachedKeys, "allow_cached_keys", |i| i.cached_keys = Some(true)),
    ];
    for (flag, name, set) in cases {
        assert_eq!(judge_sgx(&by_enclave(), |c| set(&mut c.intel)), Err(Reason::Flag { flag }));
        assert_eq!(judge_sgx(&format!("{}{name} = true", by_enclave()), |c| set(&mut c.intel)), Ok(()));
    }
}

#[test]
fn what_the_loader_of_an_enclave_sets_is_denied_unless_named() {
    type Case = (fn(&mut SgxClaims), &'static str, &'static str);
    let cases: [Case; 5] = [
        (|c| c.attributes[0] |= 0x10, "flag", "allow_provisioning_keys = true"),
        (|c| c.attributes[0] |= 0x20, "flag", "allow_provisioning_keys = true"),
        (|c| c.misc_select = 1, "measurement", "misc_select = [0, 1]"),
        (|c| c.config_id[63] = 1, "measurement", "config_id = [\"CONFIG\"]"),
        (|c| c.config_svn = 0, "below-level", "least_config_svn = 0"),
    ];
    let with = |line: &str| {
        let line = line.replace("CONFIG", &format!("{}01", "00".repeat(63)));
        by_enclave().replace("[sgx]\n", &format!("[sgx]\n{line}\n"))
    };
    for (change, code, line) in cases {
        let strict = if code == "below-level" { with("least_config_svn = 1") } else { by_enclave() };
        assert_eq!(judge_sgx(&strict, change).unwrap_err().code(), code, "{line}");
        assert_eq!(judge_sgx(&with(line), change), Ok(()), "{line}");
    }
    for bit in [3, 8, 11, 63] {
        let unknown = judge_sgx(&with("allow_provisioning_keys = true"), |c| c.attributes[bit / 8] |= 1 << (bit % 8));
        assert_eq!(unknown, Err(Reason::Flag { flag: Flag::Attributes }), "bit {bit}");
    }
    let pinned = with("xfrm = [\"e700000000000000\"]");
    assert_eq!(judge_sgx(&pinned, |_| {}), Ok(()));
    assert_eq!(judge_sgx(&pinned, |c| c.attributes[10] = 6).unwrap_err().code(), "measurement");
}

fn tdx(change: impl FnOnce(&mut TdxClaims)) -> Claims {
    let mut claims = TdxClaims {
        mrtd: [1; 48],
        rtmr: [[2; 48], [3; 48], [4; 48], [5; 48]],
        mrconfigid: [0; 48],
        mrowner: [0; 48],
        mrownerconfig: [0; 48],
        mrseam: [6; 48],
        debug: false,
        attributes: [0; 8],
        xfam: [0; 8],
        tee_tcb_svn: [0; 16],
        mrservicetd: [0; 48],
        service_td: false,
        report_data: [0; 64],
        intel: intel(),
    };
    change(&mut claims);
    Claims::Tdx(Box::new(claims))
}

#[test]
fn tdx_rules() {
    let list = |name: &str, byte: &str| format!("{name} = [\"{}\"]\n", byte.repeat(48));
    let names = [("mrtd", "01"), ("rtmr0", "02"), ("rtmr1", "03"), ("rtmr2", "04"), ("rtmr3", "05"), ("mrseam", "06")];
    let rules: String = names.iter().map(|(name, byte)| list(name, byte)).collect();
    let rules = format!("[tdx]\n{rules}");
    let judge = |change: fn(&mut TdxClaims)| signed(&rules).judge(&tdx(change), NOW);
    assert_eq!(judge(|_| {}), Ok(()));
    assert_eq!(judge(|c| c.debug = true), Err(Reason::Debug));
    assert_eq!(judge(|c| c.service_td = true), Err(Reason::Flag { flag: Flag::ServiceTd }));
    let register = |reason: Result<(), Reason>| match reason {
        Err(Reason::Measurement { register, .. }) => register,
        other => panic!("{other:?}"),
    };
    assert_eq!(register(judge(|c| c.mrtd[0] ^= 1)), Register::Mrtd);
    assert_eq!(register(judge(|c| c.rtmr[0][47] ^= 1)), Register::Rtmr(0));
    assert_eq!(register(judge(|c| c.rtmr[3][0] ^= 1)), Register::Rtmr(3));
    assert_eq!(register(judge(|c| c.mrconfigid[0] ^= 1)), Register::Mrconfigid);
    assert_eq!(register(judge(|c| c.mrowner[0] ^= 1)), Register::Mrowner);
    assert_eq!(register(judge(|c| c.mrownerconfig[47] ^= 1)), Register::Mrownerconfig);
    assert_eq!(register(judge(|c| c.mrseam[0] ^= 1)), Register::Mrseam);
    let owned = format!("{rules}{}xfam = [\"e702060000000000\"]", list("mrowner", "07"));
    let judge_owned = |xfam| signed(&owned).judge(&tdx(|c| (c.mrowner, c.xfam) = ([7; 48], xfam)), NOW);
    assert_eq!(judge_owned([0xe7, 2, 6, 0, 0, 0, 0, 0]), Ok(()));
    assert_eq!(register(judge_owned([0xe7, 2, 0, 0, 0, 0, 0, 0])), Register::Xfam);
    for left_out in 0..5 {
        let some: String =
            names.iter().enumerate().filter(|(i, _)| *i != left_out).map(|(_, (n, b))| list(n, b)).collect();
        assert!(Draft::read(&head(&format!("[tdx]\n{some}"))).is_err(), "without {}", names[left_out].0);
    }
}

fn snp(change: impl FnOnce(&mut SnpClaims)) -> Claims {
    let mut claims = SnpClaims {
        version: 3,
        product: SnpProduct::Genoa,
        signer: SnpSigner::Chip,
        measurement: [1; 48],
        host_data: [0; 32],
        id_key_digest: [2; 48],
        vmpl: 0,
        guest_svn: 2,
        family_id: [8; 16],
        image_id: [9; 16],
        debug: false,
        migration: false,
        smt_allowed: true,
        smt: false,
        reported_tcb: SnpTcb { fmc: 0, bootloader: 9, tee: 0, snp: 23, microcode: 72 },
        chip_id: [3; 64],
        report_data: [0; 64],
        revocation_checked: true,
        valid_until: NOW,
    };
    change(&mut claims);
    Claims::Snp(claims)
}

#[test]
fn snp_rules() {
    let rules = format!(
        "[snp]\nproducts = [\"genoa\"]\nmeasurement = [\"{}\"]\n\
         least_tcb = {{ bootloader = 9, tee = 0, snp = 23, microcode = 72 }}\n",
        "01".repeat(48)
    );
    let judge = |change: fn(&mut SnpClaims)| signed(&rules).judge(&snp(change), NOW);
    assert_eq!(judge(|_| {}), Ok(()));
    type Case = (fn(&mut SnpClaims), &'static str);
    let codes: [Case; 12] = [
        (|c| c.debug = true, "debug"),
        (|c| c.migration = true, "migration"),
        (|c| c.vmpl = 1, "flag"),
        (|c| c.smt = true, "flag"),
        (|c| c.product = SnpProduct::Milan, "measurement"),
        (|c| c.signer = SnpSigner::Provider, "measurement"),
        (|c| c.measurement[0] ^= 1, "measurement"),
        (|c| c.host_data[0] ^= 1, "measurement"),
        (|c| c.reported_tcb.bootloader -= 1, "below-level"),
        (|c| c.reported_tcb.snp -= 1, "below-level"),
        (|c| c.reported_tcb.microcode -= 1, "below-level"),
        (|c| c.revocation_checked = false, "no-revocation-list"),
    ];
    for (change, code) in codes {
        assert_eq!(judge(change).unwrap_err().code(), code);
    }
    let with_key = format!("{rules}id_key_digest = [\"{}\"]", "03".repeat(48));
    assert_eq!(signed(&with_key).judge(&snp(|_| {}), NOW).unwrap_err().code(), "measurement");
    let identity = format!(
        "{rules}family_id = [\"{}\"]\nimage_id = [\"{}\"]\nleast_guest_svn = 2",
        "08".repeat(16),
        "09".repeat(16)
    );
    let judge = |change: fn(&mut SnpClaims)| signed(&identity).judge(&snp(change), NOW);
    assert_eq!(judge(|_| {}), Ok(()));
    assert_eq!(judge(|c| c.family_id[0] ^= 1).unwrap_err().code(), "measurement");
    assert_eq!(judge(|c| c.image_id[0] ^= 1).unwrap_err().code(), "measurement");
    assert_eq!(judge(|c| c.guest_svn = 1).unwrap_err().code(), "below-level");
}

#[test]
fn nitro_rules() {
    let list = |n: u8| format!("{n} = [\"{}\"]\n", format!("0{n}").repeat(48));
    let rules = format!("[nitro.pcr]\n{}{}{}{}", list(0), list(1), list(2), list(8));
    let judge = |change: fn(&mut NitroClaims), now: u64| {
        let mut claims = NitroClaims {
            module_id: "i-0".to_owned(),
            timestamp_ms: NOW * 1000,
            pcrs: [None; crate::claims::PCRS],
            user_data: None,
            nonce: None,
            public_key: None,
            valid_until: NOW + 1000,
        };
        for n in [0, 1, 2, 8] {
            claims.pcrs[n] = Some([n as u8; 48]);
        }
        // A register of zeros is debug mode's, so register 0 of this test has another value.
        claims.pcrs[0] = Some([0x0a; 48]);
        change(&mut claims);
        signed(&rules.replace(&"00".repeat(48), &"0a".repeat(48))).judge(&Claims::Nitro(Box::new(claims)), now)
    };
    assert_eq!(judge(|_| {}, NOW), Ok(()));
    assert_eq!(judge(|_| {}, NOW + 300), Ok(()));
    assert_eq!(judge(|_| {}, NOW + 301).unwrap_err().code(), "expired");
    assert_eq!(judge(|c| c.pcrs[1] = Some([0; 48]), NOW), Err(Reason::Debug));
    assert_eq!(judge(|c| c.pcrs[2] = None, NOW), Err(Reason::Debug));
    assert_eq!(judge(|c| c.pcrs[1] = Some([7; 48]), NOW).unwrap_err().code(), "measurement");
    assert_eq!(judge(|c| c.pcrs[8] = None, NOW).unwrap_err().code(), "measurement");
}
