//! What each platform has to show.

use super::format::hex;
use crate::claims::{
    Claims, IntelPlatform, NitroClaims, SgxClaims, SnpClaims, SnpProduct, SnpSigner, SnpTcb, TcbStatus, TdxClaims,
};
use crate::names::{Flag, Level, Piece, Register};
use crate::reason::Reason;
use std::collections::{BTreeMap, BTreeSet};

/// A rule for each platform that is trusted at all.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) sgx: Option<SgxRule>,
    pub(super) tdx: Option<TdxRule>,
    pub(super) snp: Option<SnpRule>,
    pub(super) nitro: Option<NitroRule>,
    /// Keys whose simulated evidence may be looked at; never trusted.
    pub(super) simulators: Vec<[u8; 32]>,
}

#[derive(Debug, Clone)]
pub(super) struct SgxRule {
    pub(super) identity: SgxIdentity,
    pub(super) config_id: Vec<[u8; 64]>,
    pub(super) least_config_svn: u16,
    pub(super) misc_select: Vec<u32>,
    pub(super) xfrm: Option<Vec<[u8; 8]>>,
    pub(super) allow_provisioning_keys: bool,
    pub(super) intel: IntelRule,
}

#[derive(Debug, Clone)]
pub(super) enum SgxIdentity {
    Enclave(Vec<[u8; 32]>),
    Signer { mrsigner: [u8; 32], isv_prod_id: u16, least_isv_svn: u16 },
}

#[derive(Debug, Clone)]
pub(super) struct TdxRule {
    pub(super) mrtd: Vec<[u8; 48]>,
    pub(super) rtmr: [Vec<[u8; 48]>; 4],
    pub(super) mrconfigid: Vec<[u8; 48]>,
    pub(super) mrowner: Vec<[u8; 48]>,
    pub(super) mrownerconfig: Vec<[u8; 48]>,
    pub(super) xfam: Option<Vec<[u8; 8]>>,
    pub(super) mrseam: Option<Vec<[u8; 48]>>,
    pub(super) allow_service_td: bool,
    pub(super) intel: IntelRule,
}

#[derive(Debug, Clone)]
pub(super) struct IntelRule {
    pub(super) status: Vec<TcbStatus>,
    pub(super) advisories: BTreeSet<String>,
    pub(super) least_tcb_evaluation: u32,
    pub(super) allow_smt: bool,
    pub(super) allow_dynamic_platform: bool,
    pub(super) allow_cached_keys: bool,
}

#[derive(Debug, Clone)]
pub(super) struct SnpRule {
    pub(super) products: BTreeSet<SnpProduct>,
    pub(super) measurement: Vec<[u8; 48]>,
    pub(super) least_tcb: SnpTcb,
    pub(super) signers: BTreeSet<SnpSigner>,
    pub(super) host_data: Vec<[u8; 32]>,
    pub(super) id_key_digest: Option<Vec<[u8; 48]>>,
    pub(super) family_id: Option<Vec<[u8; 16]>>,
    pub(super) image_id: Option<Vec<[u8; 16]>>,
    pub(super) least_guest_svn: u32,
    pub(super) allow_smt: bool,
    pub(super) without_revocation_list: bool,
}

#[derive(Debug, Clone)]
pub(super) struct NitroRule {
    pub(super) pcrs: BTreeMap<u8, Vec<[u8; 48]>>,
    pub(super) max_age_s: u64,
}

impl Rules {
    pub(super) fn judge(&self, claims: &Claims, now: u64) -> Result<(), Reason> {
        let none = Reason::NoRule { platform: claims.platform() };
        match claims {
            Claims::Sgx(claims) => self.sgx.as_ref().ok_or(none)?.judge(claims),
            Claims::Tdx(claims) => self.tdx.as_ref().ok_or(none)?.judge(claims),
            Claims::Snp(claims) => self.snp.as_ref().ok_or(none)?.judge(claims),
            Claims::Nitro(claims) => self.nitro.as_ref().ok_or(none)?.judge(claims, now),
        }
    }
}

impl SgxRule {
    fn judge(&self, claims: &SgxClaims) -> Result<(), Reason> {
        refuse_if(claims.debug, Reason::Debug)?;
        match &self.identity {
            SgxIdentity::Enclave(list) => listed(Register::Mrenclave, &claims.mrenclave, list)?,
            SgxIdentity::Signer { mrsigner, isv_prod_id, least_isv_svn } => {
                listed(Register::Mrsigner, &claims.mrsigner, &[*mrsigner])?;
                listed(Register::IsvProdId, &claims.isv_prod_id.to_be_bytes(), &[isv_prod_id.to_be_bytes()])?;
                at_least(Level::IsvSvn, claims.isv_svn, *least_isv_svn)?;
            }
        }
        // Neither these nor the configuration are measured: whoever loads the enclave sets them.
        let flags = u64::from_le_bytes(*claims.attributes.first_chunk().unwrap_or(&[0xff; 8]));
        allowed(Flag::ProvisioningKeys, flags & SGX_KEYS != 0, self.allow_provisioning_keys)?;
        allowed(Flag::Attributes, flags & !(SGX_KNOWN | SGX_KEYS) != 0, false)?;
        let misc = self.misc_select.iter().map(|n| n.to_be_bytes()).collect::<Vec<_>>();
        listed(Register::MiscSelect, &claims.misc_select.to_be_bytes(), &misc)?;
        if let Some(list) = &self.xfrm {
            listed(Register::Xfrm, claims.attributes.last_chunk().unwrap_or(&[0xff; 8]), list)?;
        }
        listed(Register::ConfigId, &claims.config_id, &self.config_id)?;
        at_least(Level::ConfigSvn, claims.config_svn, self.least_config_svn)?;
        self.intel.judge(&claims.intel)
    }
}

impl TdxRule {
    fn judge(&self, claims: &TdxClaims) -> Result<(), Reason> {
        refuse_if(claims.debug, Reason::Debug)?;
        listed(Register::Mrtd, &claims.mrtd, &self.mrtd)?;
        for ((n, found), list) in (0..).zip(&claims.rtmr).zip(&self.rtmr) {
            listed(Register::Rtmr(n), found, list)?;
        }
        listed(Register::Mrconfigid, &claims.mrconfigid, &self.mrconfigid)?;
        listed(Register::Mrowner, &claims.mrowner, &self.mrowner)?;
        listed(Register::Mrownerconfig, &claims.mrownerconfig, &self.mrownerconfig)?;
        if let Some(list) = &self.xfam {
            listed(Register::Xfam, &claims.xfam, list)?;
        }
        if let Some(list) = &self.mrseam {
            listed(Register::Mrseam, &claims.mrseam, list)?;
        }
        allowed(Flag::ServiceTd, claims.service_td, self.allow_service_td)?;
        self.intel.judge(&claims.intel)
    }
}

impl IntelRule {
    fn judge(&self, platform: &IntelPlatform) -> Result<(), Reason> {
        let revoked = platform.status == TcbStatus::Revoked;
        refuse_if(revoked || !self.status.contains(&platform.status), Reason::TcbStatus { status: platform.status })?;
        if let Some(id) = platform.advisories.iter().find(|id| !self.advisories.contains(*id)) {
            return Err(Reason::Advisory { id: id.clone() });
        }
        at_least(Level::TcbEvaluation, platform.tcb_evaluation, self.least_tcb_evaluation)?;
        // Certificates of single-package platforms do not have these flags: they cannot be set.
        allowed(Flag::Smt, platform.smt == Some(true), self.allow_smt)?;
        allowed(Flag::DynamicPlatform, platform.dynamic_platform == Some(true), self.allow_dynamic_platform)?;
        allowed(Flag::CachedKeys, platform.cached_keys == Some(true), self.allow_cached_keys)
    }
}

impl SnpRule {
    fn judge(&self, claims: &SnpClaims) -> Result<(), Reason> {
        refuse_if(claims.debug, Reason::Debug)?;
        refuse_if(claims.migration, Reason::Migration)?;
        allowed(Flag::Vmpl, claims.vmpl != 0, false)?;
        let product = Reason::Measurement { register: Register::Product, found: format!("{:?}", claims.product) };
        refuse_if(!self.products.contains(&claims.product), product)?;
        let signer = Reason::Measurement { register: Register::Signer, found: format!("{:?}", claims.signer) };
        refuse_if(!self.signers.contains(&claims.signer), signer)?;
        listed(Register::Measurement, &claims.measurement, &self.measurement)?;
        listed(Register::HostData, &claims.host_data, &self.host_data)?;
        if let Some(list) = &self.id_key_digest {
            listed(Register::IdKeyDigest, &claims.id_key_digest, list)?;
        }
        if let Some(list) = &self.family_id {
            listed(Register::FamilyId, &claims.family_id, list)?;
        }
        if let Some(list) = &self.image_id {
            listed(Register::ImageId, &claims.image_id, list)?;
        }
        at_least(Level::GuestSvn, claims.guest_svn, self.least_guest_svn)?;
        let (is, least) = (claims.reported_tcb, self.least_tcb);
        at_least(Level::Fmc, is.fmc, least.fmc)?;
        at_least(Level::Bootloader, is.bootloader, least.bootloader)?;
        at_least(Level::Tee, is.tee, least.tee)?;
        at_least(Level::Snp, is.snp, least.snp)?;
        at_least(Level::Microcode, is.microcode, least.microcode)?;
        allowed(Flag::Smt, claims.smt, self.allow_smt)?;
        refuse_if(!claims.revocation_checked && !self.without_revocation_list, Reason::NoRevocationList)
    }
}

impl NitroRule {
    fn judge(&self, claims: &NitroClaims, now: u64) -> Result<(), Reason> {
        refuse_if(claims.debug(), Reason::Debug)?;
        for (n, list) in &self.pcrs {
            let found = claims.pcrs.get(usize::from(*n)).copied().flatten().unwrap_or([0; 48]);
            listed(Register::Pcr(*n), &found, list)?;
        }
        let at = (claims.timestamp_ms / 1000).saturating_add(self.max_age_s);
        refuse_if(now > at, Reason::Expired { piece: Piece::Document, at })
    }
}

fn listed<const N: usize>(register: Register, found: &[u8; N], list: &[[u8; N]]) -> Result<(), Reason> {
    match list.contains(found) {
        true => Ok(()),
        false => Err(Reason::Measurement { register, found: hex(found) }),
    }
}

fn at_least<T: Into<u32>>(level: Level, found: T, least: T) -> Result<(), Reason> {
    let (found, least) = (found.into(), least.into());
    refuse_if(found < least, Reason::BelowLevel { level, found, least })
}

fn allowed(flag: Flag, is: bool, may: bool) -> Result<(), Reason> {
    refuse_if(is && !may, Reason::Flag { flag })
}

fn refuse_if(refused: bool, reason: Reason) -> Result<(), Reason> {
    if refused { Err(reason) } else { Ok(()) }
}

/// ATTRIBUTES of SGX that say nothing against an enclave: INIT, MODE64BIT, CET, KSS and
/// AEXNOTIFY; DEBUG has a reason of its own.
///
/// **Source:** Intel, "Software Developer's Manual", volume 3D, section 35.7.1.
const SGX_KNOWN: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 6 | 1 << 7 | 1 << 10;

/// PROVISIONKEY and EINITTOKEN_KEY.
const SGX_KEYS: u64 = 1 << 4 | 1 << 5;
