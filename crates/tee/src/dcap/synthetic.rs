//! Quotes signed under a root of our own, in Intel's form: the whole way to a verdict, and what
//! no genuine sample shows. Reports, firmware levels and the statement on the quoting enclave
//! are the genuine ones, changed and signed anew.

use crate::binding::Bound;
use crate::claims::{Claims, TcbStatus};
use crate::evidence::{Collateral, Evidence};
use crate::names::Piece;
use crate::policy::Policy;
use crate::reason::Reason;
use crate::vectors::{self, Sample};
use crate::verify::tests::{bound_to, exactly, signed};
use crate::verify::{Roots, Verdict, verify_under};
use dcap_qvl::quote::Quote;
use p256::ecdsa::Signature;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, CustomExtension, DnType,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, SigningKey, date_time_ymd,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

type Authority = CertifiedIssuer<'static, KeyPair>;

/// Intel's certificates, and a machine's below them. Names are Intel's, keys are ours.
struct Intel {
    root: Authority,
    platforms: Authority,
    signing: (KeyPair, String),
}

/// What is forged before it is signed.
struct Changes<'a> {
    /// Header and report, as in the quote.
    report: &'a dyn Fn(&mut [u8]),
    /// The list of firmware levels.
    levels: &'a dyn Fn(&mut Value),
    /// The statement on the quoting enclave.
    enclave: &'a dyn Fn(&mut Value),
    /// The firmware levels in the platform's certificate, DER.
    platform: &'a dyn Fn(&mut [u8]),
    revoked: bool,
}

const UNCHANGED: Changes<'static> =
    Changes { report: &|_| {}, levels: &|_| {}, enclave: &|_| {}, platform: &|_| {}, revoked: false };

impl Intel {
    fn new() -> Self {
        let root = Authority::self_signed(authority("Intel SGX Root CA"), key()).unwrap();
        let platforms = Authority::signed_by(authority("Intel SGX PCK Platform CA"), key(), &root).unwrap();
        let signing = key();
        let certificate = params("Intel SGX TCB Signing").signed_by(&signing, &root).unwrap();
        Self { signing: (signing, certificate.pem() + &root.pem()), root, platforms }
    }

    fn roots(&self) -> Roots<'_> {
        Roots { intel: self.root.der(), ..Roots::VENDORS }
    }

    /// `genuine` about `bound`, with `changes`, under this root.
    fn attest(&self, genuine: &Sample, bound: Option<&Bound>, changes: &Changes<'_>) -> Sample {
        let (Evidence::Dcap(quote), Collateral::Dcap(json)) = (&genuine.evidence, &genuine.collateral) else {
            unreachable!()
        };
        let parsed = Quote::parse(quote).unwrap();
        let mut collateral: Value = serde_json::from_slice(json).unwrap();
        let chain = genuine_chain(&parsed, &collateral);
        let (platform, platforms) = self.platform(&chain, changes.platform);
        let quote = self.quote(quote, &parsed, bound, changes, (&platform, &platforms));
        self.sign_lists(&mut collateral, changes);
        collateral["pck_crl_issuer_chain"] = json!(self.platforms.pem() + &self.root.pem());
        collateral["root_ca_crl"] = json!(hex(&list(&self.root, None)));
        collateral["pck_crl"] = json!(hex(&list(&self.platforms, changes.revoked.then_some(SERIAL))));
        collateral.as_object_mut().unwrap().remove("pck_certificate_chain");
        let collateral = Collateral::Dcap(serde_json::to_vec(&collateral).unwrap());
        Sample { evidence: Evidence::Dcap(quote), collateral, now: genuine.now }
    }

    /// A platform's key, and its chain with the firmware levels of the genuine one's.
    fn platform(&self, genuine: &[u8], change: &dyn Fn(&mut [u8])) -> (KeyPair, String) {
        let genuine = crate::x509::parse(genuine).unwrap();
        let levels = genuine.extensions().iter().find(|e| e.oid.to_id_string() == "1.2.840.113741.1.13.1").unwrap();
        let mut levels = levels.value.to_vec();
        change(&mut levels);
        let key = key();
        let mut params = params("Intel SGX PCK Certificate");
        params.serial_number = Some(SerialNumber::from(SERIAL));
        params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 840, 113_741, 1, 13, 1], levels)];
        let certificate = params.signed_by(&key, &self.platforms).unwrap();
        (key, certificate.pem() + &self.platforms.pem() + &self.root.pem())
    }

    /// Report, its signature by a fresh key, the quoting enclave's report that names the key,
    /// the platform's signature over that, the platform's certificates.
    fn quote(
        &self,
        genuine: &[u8],
        parsed: &Quote,
        bound: Option<&Bound>,
        changes: &Changes<'_>,
        (platform, chain): (&KeyPair, &str),
    ) -> Vec<u8> {
        let mut quote = genuine[..parsed.signed_length()].to_vec();
        if let Some(bound) = bound {
            let at = report_data_at(parsed);
            quote[at..at + 64].copy_from_slice(&bound.report_data());
        }
        (changes.report)(&mut quote);
        let auth = parsed.auth_data.clone().into_v3();
        let own = key();
        let own_public = &own.public_key_raw()[1..];
        let names_key = Sha256::new().chain_update(own_public).chain_update(&auth.qe_auth_data.data).finalize();
        let mut enclave = auth.qe_report.to_vec();
        enclave[320..352].copy_from_slice(&names_key);

        let sized =
            |kind: u16, data: &[u8]| [&kind.to_le_bytes()[..], &(data.len() as u32).to_le_bytes(), data].concat();
        let mut certified = [&enclave[..], &sign(platform, &enclave)].concat();
        certified.extend((auth.qe_auth_data.data.len() as u16).to_le_bytes());
        certified.extend(&auth.qe_auth_data.data);
        certified.extend(sized(PCK_CHAIN, chain.as_bytes()));
        let certified = if parsed.header.version == 3 { certified } else { sized(QE_REPORT, &certified) };
        let auth = [&sign(&own, &quote)[..], own_public, &certified].concat();
        quote.extend((auth.len() as u32).to_le_bytes());
        quote.extend(auth);
        quote
    }

    fn sign_lists(&self, collateral: &mut Value, changes: &Changes<'_>) {
        for (list, change) in [("tcb_info", changes.levels), ("qe_identity", changes.enclave)] {
            let mut value: Value = serde_json::from_str(collateral[list].as_str().unwrap()).unwrap();
            change(&mut value);
            let text = value.to_string();
            collateral[format!("{list}_signature")] = json!(hex(&sign(&self.signing.0, text.as_bytes())));
            collateral[list] = json!(text);
            collateral[format!("{list}_issuer_chain")] = json!(self.signing.1);
        }
    }
}

/// What becomes of `genuine` with `changes`, under our root, by `policy`.
fn verdict(genuine: &Sample, policy: &Policy, changes: &Changes<'_>) -> Verdict {
    let (intel, bound) = (Intel::new(), bound_to(policy));
    let sample = intel.attest(genuine, Some(&bound), changes);
    verify_under(&intel.roots(), &sample.evidence, &sample.collateral, policy, &bound, sample.now)
}

fn samples() -> [Sample; 3] {
    [vectors::sgx(), vectors::tdx(), vectors::tdx15()]
}

#[test]
fn a_quote_about_our_key_is_attested_under_its_root_and_no_other() {
    for genuine in samples() {
        let (intel, policy) = (Intel::new(), exactly(&genuine));
        let bound = bound_to(&policy);
        let sample = intel.attest(&genuine, Some(&bound), &UNCHANGED);
        let under =
            |roots: &Roots<'_>| verify_under(roots, &sample.evidence, &sample.collateral, &policy, &bound, sample.now);
        let Verdict::Attested(attested) = under(&intel.roots()) else { panic!("{:?}", under(&intel.roots())) };
        assert_eq!(attested.bound(), &bound);
        assert_eq!(attested.valid_until(), sample.now + 3600);
        for others in [Roots::VENDORS, Intel::new().roots()] {
            let Verdict::Untrusted(reason) = under(&others) else { panic!("another root vouches") };
            let refused = matches!(reason, Reason::Issuer { .. } | Reason::Signature { .. } | Reason::Platform { .. });
            assert!(refused, "{reason}");
        }
    }
}

#[test]
fn a_quote_about_something_else_is_not_about_our_key() {
    for genuine in samples() {
        let (intel, policy) = (Intel::new(), exactly(&genuine));
        let sample = intel.attest(&genuine, None, &UNCHANGED);
        let bound = bound_to(&policy);
        let roots = intel.roots();
        let verdict = verify_under(&roots, &sample.evidence, &sample.collateral, &policy, &bound, sample.now);
        assert_eq!(verdict, Verdict::Untrusted(Reason::Binding));
    }
}

#[test]
fn a_debugger_is_refused() {
    let attributes = [48 + 48, 48 + 120, 48 + 6 + 120];
    for ((genuine, at), bit) in samples().into_iter().zip(attributes).zip([2, 1, 1]) {
        let debug = Changes { report: &|quote| quote[at] |= bit, ..UNCHANGED };
        assert_eq!(verdict(&genuine, &exactly(&genuine), &debug), Verdict::Untrusted(Reason::Debug));
    }
}

#[test]
fn every_status_is_the_policys_to_accept_or_refuse() {
    use TcbStatus::{
        ConfigurationAndSWHardeningNeeded, ConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded, Revoked,
        SWHardeningNeeded, UpToDate,
    };
    let all = [
        UpToDate,
        SWHardeningNeeded,
        ConfigurationNeeded,
        ConfigurationAndSWHardeningNeeded,
        OutOfDate,
        OutOfDateConfigurationNeeded,
        Revoked,
    ];
    for genuine in samples() {
        let policy = exactly(&genuine);
        let accepted = authenticated_status(&genuine);
        for status in all {
            let set = |list: &mut Value| {
                for level in list["tcbLevels"].as_array_mut().unwrap() {
                    level["tcbStatus"] = json!(status.to_string());
                }
                for module in list.get_mut("tdxModuleIdentities").and_then(Value::as_array_mut).into_iter().flatten() {
                    for level in module["tcbLevels"].as_array_mut().unwrap() {
                        level["tcbStatus"] = json!("UpToDate");
                    }
                }
            };
            let verdict = verdict(&genuine, &policy, &Changes { levels: &set, ..UNCHANGED });
            match status == accepted {
                true => assert!(matches!(verdict, Verdict::Attested(_)), "{status}: {verdict:?}"),
                false => assert_eq!(verdict, Verdict::Untrusted(Reason::TcbStatus { status })),
            }
        }
    }
}

fn authenticated_status(genuine: &Sample) -> TcbStatus {
    match crate::authenticate(&genuine.evidence, &genuine.collateral, genuine.now).unwrap() {
        Claims::Sgx(claims) => claims.intel.status,
        Claims::Tdx(claims) => claims.intel.status,
        Claims::Snp(_) | Claims::Nitro(_) => unreachable!(),
    }
}

#[test]
fn a_platform_older_than_every_level_is_refused() {
    // CPUSVN, an octet string of 16.
    let older = |levels: &mut [u8]| {
        let oid = [0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 1, 13, 1, 2, 18, 4, 16];
        let at = levels.windows(oid.len()).position(|window| window == oid).unwrap() + oid.len();
        levels[at..at + 16].fill(0);
    };
    for genuine in samples() {
        let old = verdict(&genuine, &exactly(&genuine), &Changes { platform: &older, ..UNCHANGED });
        assert_eq!(old, Verdict::Untrusted(Reason::TcbUnknown));
    }
}

#[test]
fn a_revoked_platform_is_refused() {
    for genuine in samples() {
        let revoked = verdict(&genuine, &exactly(&genuine), &Changes { revoked: true, ..UNCHANGED });
        assert_eq!(revoked, Verdict::Untrusted(Reason::Revoked { piece: Piece::PckChain }));
    }
}

#[test]
fn another_quoting_enclave_than_intels_is_refused() {
    for genuine in samples() {
        let policy = exactly(&genuine);
        let signer = |list: &mut Value| list["mrsigner"] = json!("11".repeat(32));
        let other = verdict(&genuine, &policy, &Changes { enclave: &signer, ..UNCHANGED });
        assert!(matches!(other, Verdict::Untrusted(Reason::Platform { .. })), "{other:?}");
        let outdated = |list: &mut Value| {
            for level in list["tcbLevels"].as_array_mut().unwrap() {
                level["tcbStatus"] = json!("OutOfDate");
            }
        };
        let outdated = verdict(&genuine, &policy, &Changes { enclave: &outdated, ..UNCHANGED });
        let refused = matches!(
            outdated,
            Verdict::Untrusted(Reason::TcbStatus {
                status: TcbStatus::OutOfDate | TcbStatus::OutOfDateConfigurationNeeded
            })
        );
        assert!(refused, "{outdated:?}");
    }
}

#[test]
fn another_program_is_refused() {
    let measured = [48 + 64, 48 + 136, 48 + 6 + 136];
    for (genuine, at) in samples().into_iter().zip(measured) {
        let other = verdict(&genuine, &exactly(&genuine), &Changes { report: &|quote| quote[at] ^= 1, ..UNCHANGED });
        assert!(matches!(other, Verdict::Untrusted(Reason::Measurement { .. })), "{other:?}");
        let denied = verdict(&genuine, &signed(""), &UNCHANGED);
        assert!(matches!(denied, Verdict::Untrusted(Reason::NoRule { .. })), "{denied:?}");
    }
}

fn key() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "Intel Corporation");
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1));
    params
}

fn authority(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn list(issuer: &Issuer<'_, KeyPair>, revoked_serial: Option<u64>) -> Vec<u8> {
    let revoked = |serial| RevokedCertParams {
        serial_number: SerialNumber::from(serial),
        revocation_time: date_time_ymd(2025, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2025, 1, 1),
        next_update: date_time_ymd(2030, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked_serial.into_iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(issuer).unwrap().der().to_vec()
}

fn sign(key: &KeyPair, message: &[u8]) -> [u8; 64] {
    Signature::from_der(&key.sign(message).unwrap()).unwrap().to_bytes().into()
}

/// The platform's certificate, DER.
fn genuine_chain(quote: &Quote, collateral: &Value) -> Vec<u8> {
    let inside = quote.auth_data.clone().into_v3().certification_data.body.data;
    let pem = collateral["pck_certificate_chain"].as_str().map_or(inside, |pem| pem.as_bytes().to_vec());
    x509_parser::pem::Pem::iter_from_buffer(&pem).next().unwrap().unwrap().contents
}

/// In SGX's report, in TDX's of version 4, and of version 5, whose body has a head.
fn report_data_at(quote: &Quote) -> usize {
    match (quote.header.is_sgx(), quote.header.version) {
        (true, _) => 48 + 320,
        (false, 4) => 48 + 520,
        (false, _) => 48 + 6 + 520,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Any number.
const SERIAL: u64 = 0x5eed;

const PCK_CHAIN: u16 = 5;
const QE_REPORT: u16 = 6;
