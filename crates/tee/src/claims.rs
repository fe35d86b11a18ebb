//! What authentic evidence says.

pub use dcap_qvl::TcbStatus;

/// What authentic evidence says about where it was made, before any policy.
///
/// Two pieces of evidence with equal claims say the same, whatever their bytes: quotes are
/// malleable, so neither their bytes nor a hash of them identifies anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claims {
    /// An SGX enclave.
    Sgx(SgxClaims),
    /// A TDX virtual machine.
    Tdx(Box<TdxClaims>),
    /// An SEV-SNP virtual machine.
    Snp(SnpClaims),
    /// An AWS Nitro enclave.
    Nitro(Box<NitroClaims>),
}

/// A kind of trusted execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Platform {
    /// Intel SGX enclaves.
    Sgx,
    /// Intel TDX virtual machines.
    Tdx,
    /// AMD SEV-SNP virtual machines.
    Snp,
    /// AWS Nitro enclaves.
    Nitro,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sgx => "SGX",
            Self::Tdx => "TDX",
            Self::Snp => "SEV-SNP",
            Self::Nitro => "Nitro",
        })
    }
}

impl Claims {
    /// The kind of trusted execution.
    pub fn platform(&self) -> Platform {
        match self {
            Self::Sgx(_) => Platform::Sgx,
            Self::Tdx(_) => Platform::Tdx,
            Self::Snp(_) => Platform::Snp,
            Self::Nitro(_) => Platform::Nitro,
        }
    }

    /// The 64 bytes that the attested program chose, if it chose 64.
    pub fn report_data(&self) -> Option<[u8; 64]> {
        match self {
            Self::Sgx(claims) => Some(claims.report_data),
            Self::Tdx(claims) => Some(claims.report_data),
            Self::Snp(claims) => Some(claims.report_data),
            Self::Nitro(claims) => claims.user_data.as_deref().and_then(|d| d.try_into().ok()),
        }
    }

    /// The last second (since 1970) at which evidence and collateral are all valid.
    pub fn valid_until(&self) -> u64 {
        match self {
            Self::Sgx(claims) => claims.intel.valid_until,
            Self::Tdx(claims) => claims.intel.valid_until,
            Self::Snp(claims) => claims.valid_until,
            Self::Nitro(claims) => claims.valid_until,
        }
    }
}

/// What an SGX quote says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SgxClaims {
    /// Hash of the enclave's code and first data.
    pub mrenclave: [u8; 32],
    /// Hash of the key that signed the enclave.
    pub mrsigner: [u8; 32],
    /// The signer's number for this product.
    pub isv_prod_id: u16,
    /// The signer's security version.
    pub isv_svn: u16,
    /// Whether a debugger can read the enclave.
    pub debug: bool,
    /// ATTRIBUTES, 16 bytes.
    pub attributes: [u8; 16],
    /// MISCSELECT.
    pub misc_select: u32,
    /// CONFIGID, which whoever loads the enclave chooses; zero without key separation.
    pub config_id: [u8; 64],
    /// CONFIGSVN, likewise.
    pub config_svn: u16,
    /// What the enclave chose.
    pub report_data: [u8; 64],
    /// What Intel says of the platform.
    pub intel: IntelPlatform,
}

/// What a TDX quote says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxClaims {
    /// Hash of the virtual machine as first loaded.
    pub mrtd: [u8; 48],
    /// Run-time measurements: firmware, configuration, kernel, application.
    pub rtmr: [[u8; 48]; 4],
    /// What the owner of the machine configured.
    pub mrconfigid: [u8; 48],
    /// Who the owner is.
    pub mrowner: [u8; 48],
    /// What the owner says of the configuration.
    pub mrownerconfig: [u8; 48],
    /// Hash of the TDX module.
    pub mrseam: [u8; 48],
    /// Whether a debugger or profiler can look into the machine.
    pub debug: bool,
    /// TDATTRIBUTES.
    pub attributes: [u8; 8],
    /// XFAM.
    pub xfam: [u8; 8],
    /// Security versions of the TDX module.
    pub tee_tcb_svn: [u8; 16],
    /// Hash of the service machines bound to it (TDX 1.5): zero if there are none.
    pub mrservicetd: [u8; 48],
    /// Whether service machines can be bound to it.
    pub service_td: bool,
    /// What the machine chose.
    pub report_data: [u8; 64],
    /// What Intel says of the platform.
    pub intel: IntelPlatform,
}

/// What Intel's certificates and collateral say of a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntelPlatform {
    /// How current the platform is.
    pub status: TcbStatus,
    /// Advisories that concern it at this level.
    pub advisories: Vec<String>,
    /// The number of the evaluation data that says so; grows.
    pub tcb_evaluation: u32,
    /// Family and model.
    pub fmspc: [u8; 6],
    /// Whether packages can be added to the platform: `None` if its certificate does not say.
    pub dynamic_platform: Option<bool>,
    /// Whether Intel keeps the platform's keys: `None` if its certificate does not say.
    pub cached_keys: Option<bool>,
    /// Whether hyper-threading is on: `None` if its certificate does not say.
    pub smt: Option<bool>,
    /// The last second (since 1970) at which all collateral is valid.
    pub valid_until: u64,
}

/// What an SEV-SNP report says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpClaims {
    /// Version of the report's format.
    pub version: u32,
    /// The chip's family.
    pub product: SnpProduct,
    /// Which key signed the report.
    pub signer: SnpSigner,
    /// Hash of the virtual machine as first loaded.
    pub measurement: [u8; 48],
    /// What the host passed in at launch.
    pub host_data: [u8; 32],
    /// Hash of the key that signed the machine's identity block; zero if there is none.
    pub id_key_digest: [u8; 48],
    /// Privilege level that asked for the report; 0 is the most privileged.
    pub vmpl: u32,
    /// The guest's own security version, from the identity block.
    pub guest_svn: u32,
    /// The guest's family, from the identity block.
    pub family_id: [u8; 16],
    /// The guest's image, from the identity block.
    pub image_id: [u8; 16],
    /// Whether the host may debug the machine.
    pub debug: bool,
    /// Whether a migration agent may move the machine.
    pub migration: bool,
    /// Whether the machine may run with hyper-threading.
    pub smt_allowed: bool,
    /// Whether hyper-threading is on.
    pub smt: bool,
    /// The firmware's level that the signing key vouches for.
    pub reported_tcb: SnpTcb,
    /// The chip, or zero if it is masked.
    pub chip_id: [u8; 64],
    /// What the machine chose.
    pub report_data: [u8; 64],
    /// Whether a revocation list was looked at.
    pub revocation_checked: bool,
    /// The last second (since 1970) at which certificates and list are valid.
    pub valid_until: u64,
}

/// A family of AMD chips: each has its own root certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SnpProduct {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004 and 8004 (Genoa, Bergamo, Siena).
    Genoa,
    /// EPYC 9005.
    Turin,
}

/// Which key signs a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SnpSigner {
    /// The chip's own, bound to its firmware level (VCEK).
    Chip,
    /// One that a cloud provider loaded (VLEK).
    Provider,
}

/// Levels of an SEV-SNP platform's firmware; each only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SnpTcb {
    /// FMC, on Turin and later.
    pub fmc: u8,
    /// Boot loader.
    pub bootloader: u8,
    /// Operating system of the security processor.
    pub tee: u8,
    /// SEV-SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
}

/// What a Nitro document says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NitroClaims {
    /// The enclave's name.
    pub module_id: String,
    /// When the document was made, milliseconds since 1970.
    pub timestamp_ms: u64,
    /// Measurements by number; a register that the document leaves out is `None`.
    pub pcrs: [Option<[u8; 48]>; PCRS],
    /// What the enclave chose.
    pub user_data: Option<Vec<u8>>,
    /// The nonce that the enclave was given.
    pub nonce: Option<Vec<u8>>,
    /// A key that the enclave chose.
    pub public_key: Option<Vec<u8>>,
    /// The last second (since 1970) at which all certificates are valid.
    pub valid_until: u64,
}

/// Registers that a Nitro document can hold.
pub const PCRS: usize = 32;

impl NitroClaims {
    /// Whether the enclave runs in debug mode, where all measurements are zero.
    ///
    /// **Source:** AWS Nitro Enclaves user guide, "Cryptographic attestation",
    /// <https://docs.aws.amazon.com/enclaves/latest/user/set-up-attestation.html>.
    pub fn debug(&self) -> bool {
        self.pcrs.iter().take(3).any(|pcr| pcr.is_none_or(|pcr| pcr == [0; 48]))
    }
}
