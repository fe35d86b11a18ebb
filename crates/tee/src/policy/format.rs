//! The TOML of a policy.

use super::rule::{IntelRule, NitroRule, Rules, SgxIdentity, SgxRule, SnpRule, TdxRule};
use crate::claims::{SnpProduct, SnpSigner, SnpTcb, TcbStatus};
use crate::error::Error;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Name, serial and rules of a policy.
pub(super) fn parse(body: &str) -> Result<(String, u64, Rules), Error> {
    let file: File = toml::from_str(body).map_err(|e| Error::Policy(e.to_string().trim_end().to_owned()))?;
    if file.version != VERSION {
        return Err(Error::Policy(format!("its version is {}, and this program knows {VERSION}", file.version)));
    }
    let simulators = match (file.allow_simulated, &file.simulators) {
        (true, keys) if !keys.is_empty() => hashes("simulators", keys)?,
        (true, _) => return wrong("allow_simulated also needs `simulators`, the keys that may simulate"),
        (false, keys) if !keys.is_empty() => return wrong("simulators are listed without `allow_simulated = true`"),
        (false, _) => Vec::new(),
    };
    let rules = Rules {
        sgx: file.sgx.map(Sgx::rule).transpose()?,
        tdx: file.tdx.map(Tdx::rule).transpose()?,
        snp: file.snp.map(Snp::rule).transpose()?,
        nitro: file.nitro.map(Nitro::rule).transpose()?,
        simulators,
    };
    Ok((file.name, file.serial, rules))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    name: String,
    serial: u64,
    #[serde(default)]
    allow_simulated: bool,
    #[serde(default)]
    simulators: Vec<String>,
    sgx: Option<Sgx>,
    tdx: Option<Tdx>,
    snp: Option<Snp>,
    nitro: Option<Nitro>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sgx {
    mrenclave: Option<Vec<String>>,
    signer: Option<Signer>,
    config_id: Option<Vec<String>>,
    #[serde(default)]
    least_config_svn: u16,
    misc_select: Option<Vec<u32>>,
    xfrm: Option<Vec<String>>,
    #[serde(default)]
    allow_provisioning_keys: bool,
    #[serde(default)]
    platform: Intel,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signer {
    mrsigner: String,
    isv_prod_id: u16,
    least_isv_svn: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tdx {
    mrtd: Vec<String>,
    rtmr0: Vec<String>,
    rtmr1: Vec<String>,
    rtmr2: Vec<String>,
    rtmr3: Vec<String>,
    mrconfigid: Option<Vec<String>>,
    mrowner: Option<Vec<String>>,
    mrownerconfig: Option<Vec<String>>,
    xfam: Option<Vec<String>>,
    mrseam: Option<Vec<String>>,
    #[serde(default)]
    allow_service_td: bool,
    #[serde(default)]
    platform: Intel,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Intel {
    tcb_status: Option<Vec<TcbStatus>>,
    advisories: Vec<String>,
    least_tcb_evaluation: u32,
    allow_smt: bool,
    allow_dynamic_platform: bool,
    allow_cached_keys: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Snp {
    products: Vec<Product>,
    measurement: Vec<String>,
    least_tcb: Tcb,
    signers: Option<Vec<KeyKind>>,
    host_data: Option<Vec<String>>,
    id_key_digest: Option<Vec<String>>,
    family_id: Option<Vec<String>>,
    image_id: Option<Vec<String>>,
    #[serde(default)]
    least_guest_svn: u32,
    #[serde(default)]
    allow_smt: bool,
    #[serde(default)]
    without_revocation_list: bool,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Product {
    Milan,
    Genoa,
    Turin,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum KeyKind {
    Vcek,
    Vlek,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tcb {
    #[serde(default)]
    fmc: u8,
    bootloader: u8,
    tee: u8,
    snp: u8,
    microcode: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nitro {
    pcr: BTreeMap<String, Vec<String>>,
    #[serde(default = "five_minutes")]
    max_age_s: u64,
}

impl Sgx {
    fn rule(self) -> Result<SgxRule, Error> {
        let identity = match (self.mrenclave, self.signer) {
            (Some(list), None) => SgxIdentity::Enclave(hashes("sgx.mrenclave", &list)?),
            (None, Some(signer)) => SgxIdentity::Signer {
                mrsigner: hash("sgx.signer.mrsigner", &signer.mrsigner)?,
                isv_prod_id: signer.isv_prod_id,
                least_isv_svn: signer.least_isv_svn,
            },
            (Some(_), Some(_)) => return wrong("[sgx] names enclaves and a signer; the signer would let others in"),
            (None, None) => return wrong("[sgx] names neither `mrenclave` nor a `signer`"),
        };
        Ok(SgxRule {
            identity,
            config_id: or_zero("sgx.config_id", self.config_id.as_deref())?,
            least_config_svn: self.least_config_svn,
            misc_select: self.misc_select.unwrap_or_else(|| vec![0]),
            xfrm: maybe("sgx.xfrm", self.xfrm.as_deref())?,
            allow_provisioning_keys: self.allow_provisioning_keys,
            intel: self.platform.rule(),
        })
    }
}

impl Tdx {
    fn rule(self) -> Result<TdxRule, Error> {
        Ok(TdxRule {
            mrtd: hashes("tdx.mrtd", &self.mrtd)?,
            rtmr: [
                hashes("tdx.rtmr0", &self.rtmr0)?,
                hashes("tdx.rtmr1", &self.rtmr1)?,
                hashes("tdx.rtmr2", &self.rtmr2)?,
                hashes("tdx.rtmr3", &self.rtmr3)?,
            ],
            mrconfigid: or_zero("tdx.mrconfigid", self.mrconfigid.as_deref())?,
            mrowner: or_zero("tdx.mrowner", self.mrowner.as_deref())?,
            mrownerconfig: or_zero("tdx.mrownerconfig", self.mrownerconfig.as_deref())?,
            xfam: maybe("tdx.xfam", self.xfam.as_deref())?,
            mrseam: maybe("tdx.mrseam", self.mrseam.as_deref())?,
            allow_service_td: self.allow_service_td,
            intel: self.platform.rule(),
        })
    }
}

impl Intel {
    fn rule(self) -> IntelRule {
        IntelRule {
            status: self.tcb_status.unwrap_or_else(|| vec![TcbStatus::UpToDate]),
            advisories: self.advisories.into_iter().collect(),
            least_tcb_evaluation: self.least_tcb_evaluation,
            allow_smt: self.allow_smt,
            allow_dynamic_platform: self.allow_dynamic_platform,
            allow_cached_keys: self.allow_cached_keys,
        }
    }
}

impl Snp {
    fn rule(self) -> Result<SnpRule, Error> {
        let t = self.least_tcb;
        let kinds = self.signers.unwrap_or_else(|| vec![KeyKind::Vcek]);
        Ok(SnpRule {
            products: self.products.into_iter().map(Product::claim).collect(),
            measurement: hashes("snp.measurement", &self.measurement)?,
            least_tcb: SnpTcb { fmc: t.fmc, bootloader: t.bootloader, tee: t.tee, snp: t.snp, microcode: t.microcode },
            signers: kinds.into_iter().map(KeyKind::claim).collect(),
            host_data: or_zero("snp.host_data", self.host_data.as_deref())?,
            id_key_digest: maybe("snp.id_key_digest", self.id_key_digest.as_deref())?,
            family_id: maybe("snp.family_id", self.family_id.as_deref())?,
            image_id: maybe("snp.image_id", self.image_id.as_deref())?,
            least_guest_svn: self.least_guest_svn,
            allow_smt: self.allow_smt,
            without_revocation_list: self.without_revocation_list,
        })
    }
}

impl Product {
    fn claim(self) -> SnpProduct {
        match self {
            Self::Milan => SnpProduct::Milan,
            Self::Genoa => SnpProduct::Genoa,
            Self::Turin => SnpProduct::Turin,
        }
    }
}

impl KeyKind {
    fn claim(self) -> SnpSigner {
        match self {
            Self::Vcek => SnpSigner::Chip,
            Self::Vlek => SnpSigner::Provider,
        }
    }
}

impl Nitro {
    fn rule(self) -> Result<NitroRule, Error> {
        let mut pcrs = BTreeMap::new();
        for (number, list) in &self.pcr {
            let index = number.parse().ok().filter(|n: &u8| *n < 32 && n.to_string() == *number);
            let index = index.ok_or_else(|| Error::Policy(format!("nitro.pcr.{number}: registers are 0 to 31")))?;
            pcrs.insert(index, hashes("nitro.pcr", list)?);
        }
        match (0..3).all(|n| pcrs.contains_key(&n)) {
            true => Ok(NitroRule { pcrs, max_age_s: self.max_age_s }),
            false => wrong("[nitro] has to name pcr 0, 1 and 2: image, kernel and application"),
        }
    }
}

/// Values of at least one hash.
fn hashes<const N: usize>(field: &str, list: &[String]) -> Result<Vec<[u8; N]>, Error> {
    match list {
        [] => Err(Error::Policy(format!("{field} is empty: name what you trust"))),
        list => list.iter().map(|text| hash(field, text)).collect(),
    }
}

fn or_zero<const N: usize>(field: &str, list: Option<&[String]>) -> Result<Vec<[u8; N]>, Error> {
    list.map_or_else(|| Ok(vec![[0; N]]), |list| hashes(field, list))
}

fn maybe<const N: usize>(field: &str, list: Option<&[String]>) -> Result<Option<Vec<[u8; N]>>, Error> {
    list.map(|list| hashes(field, list)).transpose()
}

fn hash<const N: usize>(field: &str, text: &str) -> Result<[u8; N], Error> {
    unhex(text).ok_or_else(|| Error::Policy(format!("{field}: '{text}' has not {} hexadecimal digits", 2 * N)))
}

/// The bytes of exactly `2 N` hexadecimal digits.
pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let nibble = |c: &u8| char::from(*c).to_digit(16).map(|v| v as u8);
    let mut out = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (out, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *out = nibble(high)? << 4 | nibble(low)?;
    }
    Some(out)
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn wrong<T>(what: &str) -> Result<T, Error> {
    Err(Error::Policy(what.to_owned()))
}

fn five_minutes() -> u64 {
    300
}

const VERSION: u32 = 1;
