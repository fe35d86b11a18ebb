//! `attest verify`: genuine evidence passes at its date, and each mutation has a reason of its
//! own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests may panic")]

mod support;

use std::fs;
use std::path::Path;
use support::{shipped, subrosa, succeed};

fn vector(name: &str) -> String {
    shipped(&format!("crates/tee/vectors/{name}"))
}

/// Exit code and the fields `verdict` and `code` of the JSON.
fn verify(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let ran = subrosa(folder, &[&["attest", "verify", "--json"], arguments].concat());
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {}", ran.stderr));
    let field = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    (ran.code, field("verdict"), field("code"))
}

fn authentic() -> (Option<i32>, String, String) {
    (Some(0), "authentic".to_owned(), String::new())
}

fn refused(code: &str) -> (Option<i32>, String, String) {
    (Some(1), "untrusted".to_owned(), code.to_owned())
}

#[test]
fn genuine_evidence_passes_at_its_date() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("dcap/sgx_quote", Some("dcap/sgx_quote_collateral.json"), "2025-06-20T06:13:20Z"),
        ("dcap/tdx_quote", Some("dcap/tdx_quote_collateral.json"), "1750400000"),
        ("dcap/tdx_quote_td15ex", Some("dcap/tdx_quote_td15ex_collateral.json"), "2026-10-09T00:00:00Z"),
        ("snp/report_milan.hex", Some("snp/vcek_milan.der"), "2026-11-23T00:00:00Z"),
        ("nitro/document.cose", None, "1736179625"),
    ];
    for (evidence, collateral, at) in cases {
        let (evidence, collateral) = (vector(evidence), collateral.map(vector));
        let mut arguments = vec![evidence.as_str(), "--at", at];
        if let Some(collateral) = &collateral {
            arguments.extend(["--collateral", collateral]);
        }
        assert_eq!(verify(folder.path(), &arguments), authentic(), "{evidence}");
        // Stapled, it needs nothing beside it.
        let mut staple = vec!["attest", "staple", &evidence];
        if let Some(collateral) = &collateral {
            staple.extend(["--collateral", collateral]);
        }
        succeed(folder.path(), &staple);
        assert_eq!(verify(folder.path(), &["evidence.sroevid", "--at", at]), authentic(), "{evidence}");
        assert_eq!(verify(folder.path(), &["evidence.sroevid", "--at", "2040-01-01T00:00:00Z"]), refused("expired"));
        assert_eq!(verify(folder.path(), &["evidence.sroevid", "--at", "0"]), refused("not-yet-valid"));
    }
}

#[test]
fn each_mutation_has_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let quote = fs::read(vector("dcap/tdx_quote")).unwrap();
    let collateral = vector("dcap/tdx_quote_collateral.json");
    let run = |bytes: &[u8], collateral: &str| {
        fs::write(folder.path().join("quote"), bytes).unwrap();
        verify(folder.path(), &["quote", "--collateral", collateral, "--at", "1750400000"])
    };
    assert_eq!(run(&quote, &collateral), authentic());
    let mut flipped = quote.clone();
    flipped[200] ^= 1;
    assert_eq!(run(&flipped, &collateral), refused("signature"));
    assert_eq!(run(&quote[..1000], &collateral), refused("malformed"));
    assert_eq!(run(&quote, &vector("dcap/sgx_quote_collateral.json")), refused("wrong-collateral"));
    assert_eq!(run(b"GIF89a", &collateral), refused("unsupported"));
    assert_eq!(run(&vec![3; 1 << 17], &collateral), refused("too-long"));
    let (old, list) = (vector("dcap/tdx_quote_outdated"), vector("dcap/tdx_quote_outdated_collateral.json"));
    let low = verify(folder.path(), &[&old, "--collateral", &list, "--at", "1771500000"]);
    assert_eq!(low, refused("tcb-unknown"));
}

#[test]
fn a_signed_policy_decides() {
    let folder = tempfile::tempdir().unwrap();
    let (evidence, collateral) = (vector("snp/report_milan.hex"), vector("snp/vcek_milan.der"));
    let ran = succeed(
        folder.path(),
        &["attest", "verify", &evidence, "--collateral", &collateral, "--at", "2026-11-23T00:00:00Z"],
    );
    let fact = |name: &str| {
        let line = ran.stdout.lines().find(|l| l.trim_start().starts_with(name)).unwrap();
        line.split_whitespace().last().unwrap().to_owned()
    };
    let rules = |measurement: &str| {
        format!(
            "version = 1\nname = \"guest\"\nserial = 7\n[snp]\nproducts = [\"milan\"]\n\
             measurement = [\"{measurement}\"]\nhost_data = [\"{}\"]\n\
             least_tcb = {{ bootloader = 3, tee = 0, snp = 8, microcode = 115 }}\n\
             allow_smt = true\nwithout_revocation_list = true\n",
            fact("host data")
        )
    };
    fs::write(folder.path().join("owner.key"), [5; 32]).unwrap();
    let sign = |measurement: &str| {
        fs::write(folder.path().join("policy.toml"), rules(measurement)).unwrap();
        let ran = succeed(folder.path(), &["attest", "sign", "policy.toml", "--key", "owner.key"]);
        ran.stdout.lines().last().unwrap().strip_prefix("signer: ").unwrap().to_owned()
    };
    let judge = |signer: &str, more: &[&str]| {
        let policy = ["--policy", "signed-policy.toml", "--signer", signer, "--at", "2026-11-23T00:00:00Z"];
        verify(folder.path(), &[&[&evidence, "--collateral", &collateral], &policy[..], more].concat())
    };
    let signer = sign(&fact("measurement"));
    assert_eq!(judge(&signer, &[]), (Some(0), "accepted".to_owned(), String::new()));
    assert_eq!(judge(&signer, &["--policy-serial", "7"]).0, Some(0));
    assert_eq!(judge(&signer, &["--report-data", &fact("report data")]).0, Some(0));
    assert_eq!(judge(&signer, &["--report-data", &"00".repeat(64)]), refused("binding"));
    sign(&"00".repeat(48));
    assert_eq!(judge(&signer, &[]), refused("measurement"));
    for (arguments, said) in [
        (vec!["--policy", "signed-policy.toml", "--signer", &"11".repeat(32)], "a key that you do not trust"),
        (vec!["--policy", "policy.toml", "--signer", &signer], "holds no signature"),
        (vec!["--policy", "policy.toml", "--signer", "12"], "--signer has not 64 hexadecimal digits"),
        (vec!["--policy", "policy.toml"], "--signer"),
        (
            vec!["--policy", "signed-policy.toml", "--signer", &signer, "--policy-serial", "8"],
            "its serial is 7, older than the 8",
        ),
        (vec!["--at", "yesterday"], "give a date such as"),
    ] {
        let ran = subrosa(folder.path(), &[&["attest", "verify", &evidence], &arguments[..]].concat());
        assert!(ran.code != Some(0) && ran.stderr.contains(said), "{arguments:?}: {}", ran.stderr);
    }
}
