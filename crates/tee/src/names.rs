//! What reasons name.

use std::fmt;

/// A part of evidence or collateral, as reasons name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Piece {
    /// A file or message of unknown kind.
    Evidence,
    /// What travels with evidence.
    Collateral,
    /// An SGX or TDX quote.
    Quote,
    /// The quoting enclave's report inside a quote.
    QuotingEnclave,
    /// The certificates of an Intel platform's attestation key.
    PckChain,
    /// Intel's list of firmware levels.
    TcbInfo,
    /// Intel's statement on its quoting enclave.
    QeIdentity,
    /// The certificates over [`Piece::TcbInfo`] and [`Piece::QeIdentity`].
    SigningChain,
    /// A certificate revocation list.
    RevocationList,
    /// An SEV-SNP report.
    Report,
    /// The certificates of an AMD chip's attestation key.
    ChipChain,
    /// A Nitro attestation document.
    Document,
    /// The certificates inside a Nitro document.
    NitroChain,
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evidence => "the evidence",
            Self::Collateral => "the collateral",
            Self::Quote => "the quote",
            Self::QuotingEnclave => "the quoting enclave's report",
            Self::PckChain => "the platform's certificate chain",
            Self::TcbInfo => "Intel's list of firmware levels",
            Self::QeIdentity => "Intel's statement on its quoting enclave",
            Self::SigningChain => "the chain of Intel's signing certificate",
            Self::RevocationList => "the revocation list",
            Self::Report => "the SEV-SNP report",
            Self::ChipChain => "the chip's certificate chain",
            Self::Document => "the Nitro document",
            Self::NitroChain => "the Nitro document's certificate chain",
        })
    }
}

/// What identifies a program or its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Register {
    /// SGX: hash of the enclave.
    Mrenclave,
    /// SGX: hash of its signer's key.
    Mrsigner,
    /// SGX: the signer's product number.
    IsvProdId,
    /// SGX: the configuration that the loader chose.
    ConfigId,
    /// SGX: what the processor tells of exceptions.
    MiscSelect,
    /// SGX: processor state that the enclave uses.
    Xfrm,
    /// TDX: hash of the machine as first loaded.
    Mrtd,
    /// TDX: a run-time measurement, 0 to 3.
    Rtmr(u8),
    /// TDX: the owner's configuration.
    Mrconfigid,
    /// TDX: the owner.
    Mrowner,
    /// TDX: what the owner says of the configuration.
    Mrownerconfig,
    /// TDX: processor state that the machine uses.
    Xfam,
    /// TDX: hash of the TDX module.
    Mrseam,
    /// SEV-SNP: hash of the machine as first loaded.
    Measurement,
    /// SEV-SNP: what the host passed in.
    HostData,
    /// SEV-SNP: hash of the key that signed the identity block.
    IdKeyDigest,
    /// SEV-SNP: the guest's family, in the identity block.
    FamilyId,
    /// SEV-SNP: the guest's image, in the identity block.
    ImageId,
    /// SEV-SNP: the chip's family.
    Product,
    /// SEV-SNP: the kind of key that signed the report.
    Signer,
    /// Nitro: a measurement, 0 to 31.
    Pcr(u8),
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mrenclave => f.write_str("MRENCLAVE"),
            Self::Mrsigner => f.write_str("MRSIGNER"),
            Self::IsvProdId => f.write_str("ISVPRODID"),
            Self::ConfigId => f.write_str("CONFIGID"),
            Self::MiscSelect => f.write_str("MISCSELECT"),
            Self::Xfrm => f.write_str("XFRM"),
            Self::Mrtd => f.write_str("MRTD"),
            Self::Rtmr(n) => write!(f, "RTMR{n}"),
            Self::Mrconfigid => f.write_str("MRCONFIGID"),
            Self::Mrowner => f.write_str("MROWNER"),
            Self::Mrownerconfig => f.write_str("MROWNERCONFIG"),
            Self::Xfam => f.write_str("XFAM"),
            Self::Mrseam => f.write_str("MRSEAM"),
            Self::Measurement => f.write_str("launch measurement"),
            Self::HostData => f.write_str("host data"),
            Self::IdKeyDigest => f.write_str("identity key digest"),
            Self::FamilyId => f.write_str("family"),
            Self::ImageId => f.write_str("image"),
            Self::Product => f.write_str("chip family"),
            Self::Signer => f.write_str("signing key"),
            Self::Pcr(n) => write!(f, "PCR{n}"),
        }
    }
}

/// A version that only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// SGX: the signer's security version.
    IsvSvn,
    /// SGX: the configuration's security version.
    ConfigSvn,
    /// SGX and TDX: the number of Intel's evaluation data.
    TcbEvaluation,
    /// SEV-SNP: the guest's own security version.
    GuestSvn,
    /// SEV-SNP on Turin: FMC.
    Fmc,
    /// SEV-SNP: boot loader.
    Bootloader,
    /// SEV-SNP: operating system of the security processor.
    Tee,
    /// SEV-SNP: SEV-SNP firmware.
    Snp,
    /// SEV-SNP: microcode.
    Microcode,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IsvSvn => "ISVSVN",
            Self::ConfigSvn => "CONFIGSVN",
            Self::GuestSvn => "guest version",
            Self::TcbEvaluation => "TCB evaluation number",
            Self::Fmc => "FMC level",
            Self::Bootloader => "boot loader level",
            Self::Tee => "security processor level",
            Self::Snp => "SEV-SNP firmware level",
            Self::Microcode => "microcode level",
        })
    }
}

/// A property that a policy has to allow by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flag {
    /// Hyper-threading is on.
    Smt,
    /// Processor packages can be added.
    DynamicPlatform,
    /// The vendor keeps the platform's root keys.
    CachedKeys,
    /// SGX: it can have the platform's provisioning or launch keys.
    ProvisioningKeys,
    /// SGX: it has an attribute that this program does not know.
    Attributes,
    /// TDX: service machines are or can be bound to it.
    ServiceTd,
    /// SEV-SNP: the report was asked for from below the highest privilege level.
    Vmpl,
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Smt => "hyper-threading is on",
            Self::DynamicPlatform => "processor packages can be added to the platform",
            Self::CachedKeys => "the vendor keeps the platform's root keys",
            Self::ProvisioningKeys => "it can ask for the platform's provisioning or launch keys",
            Self::Attributes => "it has an attribute that this version does not know",
            Self::ServiceTd => "service machines can act on it",
            Self::Vmpl => "the report was asked for from a lower privilege level than 0",
        })
    }
}
