//! The machine at hand: what reports and `doctor` say of it.

use serde::Serialize;
use std::fs;
use std::path::Path;
use subrosa_core::Machine;

/// What `doctor` found.
#[derive(Clone, Debug, Serialize)]
pub struct Checkup {
    /// The machine.
    pub machine: Machine,
    /// One line a check.
    pub findings: Vec<Finding>,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What was checked.
    pub what: String,
    /// How it came out.
    pub state: State,
    /// In words.
    pub note: String,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Good,
    /// Works, with something missing.
    Fair,
    /// Will hinder.
    Bad,
}

/// Describes this machine.
pub fn machine() -> Machine {
    Machine {
        cpu: cpu_model(),
        cores: cores(),
        memory_mb: meminfo("MemTotal").unwrap_or(0) / 1024,
        os: os(),
        isa: subrosa_ring::isa().name().to_owned(),
        subrosa: env!("CARGO_PKG_VERSION").to_owned(),
        load: load(),
    }
}

/// Processes that want to run, on average over the last minute.
fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// Largest resident memory of this process so far (MiB); 0 where the system does not tell.
pub fn peak_rss_mb() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    kilobytes(&status, "VmHWM").map_or(0.0, |kb| kb as f64 / 1024.0)
}

/// Checks what helps or hinders on this machine.
pub fn checkup() -> Checkup {
    let machine = machine();
    let findings = vec![processor(&machine), core_count(&machine), memory(&machine), randomness(), enclaves()];
    Checkup { machine, findings }
}

fn finding(what: &str, state: State, note: impl Into<String>) -> Finding {
    Finding { what: what.to_owned(), state, note: note.into() }
}

fn processor(machine: &Machine) -> Finding {
    let features = features();
    let state = if features.contains(&"avx2") || cfg!(not(target_arch = "x86_64")) { State::Good } else { State::Fair };
    let listed = if features.is_empty() { "none that are used".to_owned() } else { features.join(" ") };
    if let Some(name) = subrosa_ring::isa::ignored_request() {
        let variable = subrosa_ring::isa::ISA_VARIABLE;
        let note = format!("{}; {variable}={name} is not possible here and was ignored", machine.cpu);
        return finding("processor", State::Fair, note);
    }
    let slower = match state {
        State::Good => "",
        State::Fair | State::Bad => {
            "; without AVX2 the portable kernels compute, to the same bits and several times slower"
        }
    };
    finding("processor", state, format!("{}; features: {listed}; kernels: {}{slower}", machine.cpu, machine.isa))
}

fn core_count(machine: &Machine) -> Finding {
    match machine.cores {
        1 => finding(
            "cores",
            State::Fair,
            "1: parties that are threads here take turns on it, so that times say nothing of a deployment",
        ),
        n => finding("cores", State::Good, n.to_string()),
    }
}

fn memory(machine: &Machine) -> Finding {
    let available = meminfo("MemAvailable").unwrap_or(0) / 1024;
    let note = format!("{} MiB, {available} MiB available", machine.memory_mb);
    match available {
        0 => {
            finding("memory", State::Fair, "this system does not tell how much is free; a plan says how much it takes")
        }
        1..1024 => finding("memory", State::Bad, format!("{note}: larger models will not fit")),
        1024..2048 => finding("memory", State::Fair, format!("{note}: use small batches")),
        _ => finding("memory", State::Good, note),
    }
}

fn randomness() -> Finding {
    match subrosa_core::Seed::random() {
        Ok(_) => finding("randomness", State::Good, "the operating system gives it"),
        Err(e) => finding("randomness", State::Bad, e.to_string()),
    }
}

/// Device files of trusted execution environments.
const ENCLAVE_DEVICES: [(&str, &str); 5] = [
    ("/dev/nsm", "Nitro enclave"),
    ("/dev/sgx_enclave", "SGX"),
    ("/dev/tdx_guest", "TDX guest"),
    ("/dev/sev-guest", "SEV-SNP guest"),
    ("/dev/sev", "SEV host"),
];

fn enclaves() -> Finding {
    let found: Vec<_> = ENCLAVE_DEVICES.iter().filter(|(path, _)| Path::new(path).exists()).map(|(_, n)| *n).collect();
    match found.as_slice() {
        [] => finding("enclaves", State::Fair, "none (SGX, TDX, SEV-SNP, Nitro); only the backend tee needs one"),
        some => finding("enclaves", State::Good, some.join(", ")),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn cpu_model() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|l| l.strip_prefix("model name").and_then(|l| l.split_once(": ")));
    model.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

fn os() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="));
    let name = name.map(|n| n.trim_matches('"').to_owned());
    name.unwrap_or_else(|| std::env::consts::OS.to_owned())
}

pub(crate) fn meminfo(key: &str) -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, key)
}

/// The figure of a line `key:   123 kB`.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    let mut found = Vec::new();
    macro_rules! check {
        ($($name:tt)*) => { $(if std::arch::is_x86_feature_detected!($name) { found.push($name); })* };
    }
    check!("aes" "vaes" "avx2" "avx512f" "avx512dq" "avx512ifma" "gfni");
    found
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_proc() {
        assert_eq!(kilobytes("VmHWM:\t  2048 kB\n", "VmHWM"), Some(2048));
        assert_eq!(kilobytes("nothing", "VmHWM"), None);
        assert_eq!(kilobytes("VmHWM: x kB", "VmHWM"), None);
    }
}
