//! Manifests for Gramine: a generator, and a lint that refuses what would undo the enclave.
//!
//! Under SGX a manifest is measured: with the same program, another manifest is another
//! MRENCLAVE. The lint is for the author; the verifier sees a debug enclave by itself.
//!
//! **Source:** Gramine, "Manifest syntax",
//! <https://gramine.readthedocs.io/en/stable/manifest-syntax.html>.

use std::fmt;
use toml::{Table, Value};

/// The one file of a manifest that is not measured: Intel's collateral for this machine, which is
/// renewed while the enclave runs. The program passes it on and believes nothing in it; who verifies
/// finds Intel's signature over it.
pub const RENEWED: &str = "collateral.json";

/// A program to be run in an enclave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The program's file, beside the manifest: linked statically, so that it is all there is.
    pub program: String,
    /// Its arguments, which are measured; a user of the host cannot add to them.
    pub arguments: Vec<String>,
    /// Files that it reads, beside the manifest; measured.
    pub files: Vec<String>,
    /// Whether it reads [`RENEWED`], which the host may change while it runs.
    pub renewed: bool,
    /// Memory of the enclave, MiB: a power of two.
    pub memory_mib: u32,
    /// Threads, Gramine's own included.
    pub threads: u32,
}

/// Why a manifest must not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It is no manifest.
    Unreadable(String),
    /// `sgx.debug` is not switched off in so many words.
    Debug,
    /// No remote attestation by DCAP.
    NoAttestation,
    /// Files, other than [`RENEWED`], that the host can change unnoticed.
    AllowedFiles,
    /// Untrusted files are let through instead of refused.
    FileChecks,
    /// An option that Gramine itself calls insecure.
    Insecure(String),
    /// An environment variable whose value the host chooses.
    Environment(String),
    /// No list of measured files.
    NothingTrusted,
    /// The size is none that SGX knows.
    Size,
}

impl Manifest {
    /// The manifest's text, for `gramine-manifest`. The [`lint`] finds nothing in it.
    ///
    /// **Errors:** a sentence, for a name that is no plain file name, or a size that is none.
    pub fn render(&self) -> Result<String, &'static str> {
        let names = self.files.iter().chain([&self.program]);
        if names.into_iter().any(|name| !plain(name) || name == RENEWED) {
            return Err(
                "files lie beside the manifest and have plain names; collateral.json is the name of one that is not measured",
            );
        }
        if !self.memory_mib.is_power_of_two() || self.threads < 4 {
            return Err("memory is a power of two of MiB, and Gramine needs 4 threads");
        }
        let program = quoted(&format!("/{}", self.program));
        let argv = std::iter::once(program.clone()).chain(self.arguments.iter().map(|a| quoted(a)));
        let all = || std::iter::once(&self.program).chain(&self.files);
        let renewed = self.renewed.then(|| RENEWED.to_owned());
        let mounts =
            all().chain(&renewed).map(|f| format!("  {{ path = {}, uri = {} }},\n", quoted(&format!("/{f}")), uri(f)));
        let trusted = all().map(|f| format!("  {},\n", uri(f)));
        let allowed = renewed.iter().map(|f| format!("sgx.allowed_files = [{}]\n", uri(f)));
        Ok(format!(
            "libos.entrypoint = {program}\nloader.log_level = \"error\"\nloader.argv = [{}]\n\
             fs.mounts = [\n{}]\nsys.enable_sigterm_injection = true\n\
             sgx.debug = false\nsgx.remote_attestation = \"dcap\"\nsgx.file_check_policy = \"strict\"\n\
             sgx.enclave_size = \"{}M\"\nsgx.max_threads = {}\nsgx.trusted_files = [\n{}]\n{}",
            argv.collect::<Vec<_>>().join(", "),
            mounts.collect::<String>(),
            self.memory_mib,
            self.threads,
            trusted.collect::<String>(),
            allowed.collect::<String>(),
        ))
    }
}

/// Everything in a manifest that would undo the enclave; empty if there is nothing.
pub fn lint(manifest: &str) -> Vec<Finding> {
    let table: Table = match manifest.parse() {
        Ok(table) => table,
        Err(error) => return vec![Finding::Unreadable(error.to_string().trim_end().to_owned())],
    };
    let sgx = table.get("sgx").and_then(Value::as_table).cloned().unwrap_or_default();
    let text = |key: &str| sgx.get(key).and_then(Value::as_str);
    let empty = |key: &str| sgx.get(key).and_then(Value::as_array).is_none_or(Vec::is_empty);
    let allowed = sgx.get("allowed_files").is_some_and(|files| !only_renewed(files));
    let size = text("enclave_size").and_then(bytes).is_some_and(u64::is_power_of_two);
    let checks = [
        (sgx.get("debug") != Some(&Value::Boolean(false)), Finding::Debug),
        (text("remote_attestation") != Some("dcap"), Finding::NoAttestation),
        (allowed, Finding::AllowedFiles),
        (!matches!(text("file_check_policy"), None | Some("strict")), Finding::FileChecks),
        (empty("trusted_files"), Finding::NothingTrusted),
        (!size, Finding::Size),
    ];
    let mut found: Vec<Finding> = checks.into_iter().filter(|(bad, _)| *bad).map(|(_, finding)| finding).collect();
    insecure(&table, "", &mut found);
    let environment = table.get("loader").and_then(|l| l.get("env")).and_then(Value::as_table);
    for (name, value) in environment.into_iter().flatten() {
        if value.get("passthrough") == Some(&Value::Boolean(true)) {
            found.push(Finding::Environment(name.clone()));
        }
    }
    found
}

/// Whether of these files [`RENEWED`] alone is there, if any.
fn only_renewed(files: &Value) -> bool {
    let renewed = format!("file:{RENEWED}");
    files.as_array().is_some_and(|files| files.iter().all(|file| file.as_str() == Some(&renewed)))
}

/// Options whose names say `insecure__` and that are switched on.
fn insecure(table: &Table, path: &str, found: &mut Vec<Finding>) {
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        if key.starts_with("insecure__") && *value != Value::Boolean(false) {
            found.push(Finding::Insecure(path.clone()));
        }
        if let Some(table) = value.as_table() {
            insecure(table, &path, found);
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => write!(f, "this is no manifest: {why}"),
            Self::Debug => f.write_str("sgx.debug is not false: whoever has the host can read the enclave"),
            Self::NoAttestation => f.write_str("sgx.remote_attestation is not \"dcap\": nobody can verify the enclave"),
            Self::AllowedFiles => {
                write!(f, "sgx.allowed_files has more than file:{RENEWED}: the host can change those files unnoticed")
            }
            Self::FileChecks => f.write_str("sgx.file_check_policy is not \"strict\": files of the host are let in"),
            Self::Insecure(option) => write!(f, "{option} is on, which Gramine itself calls insecure"),
            Self::Environment(name) => write!(f, "the host chooses the environment variable {name}"),
            Self::NothingTrusted => f.write_str("sgx.trusted_files is empty: the program itself is not measured"),
            Self::Size => f.write_str("sgx.enclave_size is no power of two, such as \"1G\""),
        }
    }
}

fn plain(name: &str) -> bool {
    let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && !name.starts_with('.') && name.chars().all(sane)
}

fn uri(name: &str) -> String {
    quoted(&format!("file:{name}"))
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out + "\""
}

/// `512M` and the like.
fn bytes(size: &str) -> Option<u64> {
    let (digits, shift) = match size.strip_suffix(['K', 'M', 'G']) {
        None => (size, 0),
        Some(digits) if size.ends_with('K') => (digits, 10),
        Some(digits) if size.ends_with('M') => (digits, 20),
        Some(digits) => (digits, 30),
    };
    digits.parse::<u64>().ok()?.checked_shl(shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manifest() -> Manifest {
        Manifest {
            program: "subrosa".to_owned(),
            arguments: vec!["serve".to_owned(), "a \"quoted\" one".to_owned()],
            files: vec!["lenet.onnx".to_owned(), "policy.toml".to_owned()],
            renewed: false,
            memory_mib: 1024,
            threads: 8,
        }
    }

    #[test]
    fn what_is_generated_is_toml_and_passes_the_lint() {
        let text = manifest().render().unwrap();
        assert_eq!(lint(&text), []);
        let table: Table = text.parse().unwrap();
        assert_eq!(table["libos"]["entrypoint"].as_str(), Some("/subrosa"));
        assert_eq!(table["loader"]["argv"][2].as_str(), Some("a \"quoted\" one"));
        assert_eq!(table["sgx"]["trusted_files"].as_array().unwrap().len(), 3);
        assert_eq!(table["fs"]["mounts"][1]["path"].as_str(), Some("/lenet.onnx"));
    }

    #[test]
    fn collateral_alone_may_be_renewed() {
        let text = Manifest { renewed: true, ..manifest() }.render().unwrap();
        assert_eq!(lint(&text), []);
        let table: Table = text.parse().unwrap();
        assert_eq!(table["sgx"]["trusted_files"].as_array().unwrap().len(), 3, "it is not measured");
        assert_eq!(table["fs"]["mounts"][3]["path"].as_str(), Some("/collateral.json"));
        for others in ["\"file:collateral.json\", \"file:lenet.onnx\"", "\"file:/\"", "1"] {
            let more =
                text.replace("allowed_files = [\"file:collateral.json\"]", &format!("allowed_files = [{others}]"));
            assert_eq!(lint(&more), [Finding::AllowedFiles], "{others}");
        }
        assert!(Manifest { files: vec![RENEWED.to_owned()], ..manifest() }.render().is_err());
    }

    #[test]
    fn each_way_to_undo_the_enclave_is_found() {
        let good = manifest().render().unwrap();
        let change = |from: &str, to: &str| {
            assert!(good.contains(from), "{from}");
            lint(&good.replace(from, to))
        };
        assert_eq!(change("sgx.debug = false", "sgx.debug = true"), [Finding::Debug]);
        assert_eq!(change("sgx.debug = false\n", ""), [Finding::Debug], "the default is not relied on");
        assert_eq!(change("sgx.debug = false", "sgx.debug = \"false\""), [Finding::Debug]);
        assert_eq!(change("\"dcap\"", "\"none\""), [Finding::NoAttestation]);
        assert_eq!(change("\"strict\"", "\"allow_all_but_log\""), [Finding::FileChecks]);
        assert_eq!(change("sgx.trusted_files", "sgx.allowed_files"), [Finding::AllowedFiles, Finding::NothingTrusted]);
        assert_eq!(change("\"1024M\"", "\"1000M\""), [Finding::Size]);
        let argv = "loader.insecure__use_cmdline_argv";
        assert_eq!(
            change("loader.argv = ", &format!("{argv} = true\nloader.argv = ")),
            [Finding::Insecure(argv.into())]
        );
        let env = change("loader.argv = ", "loader.env.MODEL = { passthrough = true }\nloader.argv = ");
        assert_eq!(env, [Finding::Environment("MODEL".to_owned())]);
        assert!(matches!(lint("= 1")[..], [Finding::Unreadable(_)]));
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for name in ["", "../x", "/etc/passwd", ".hidden", "a b", "x\"y"] {
            assert!(Manifest { program: name.to_owned(), ..manifest() }.render().is_err(), "{name}");
            assert!(Manifest { files: vec![name.to_owned()], ..manifest() }.render().is_err(), "{name}");
        }
        assert!(Manifest { memory_mib: 1000, ..manifest() }.render().is_err());
        assert!(Manifest { threads: 1, ..manifest() }.render().is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = lint(&text);
        }

        #[test]
        fn arguments_stay_arguments(argument in ".{0,40}") {
            let text = Manifest { arguments: vec![argument.clone()], ..manifest() }.render().unwrap();
            prop_assert_eq!(lint(&text), []);
            let table: Table = text.parse().unwrap();
            prop_assert_eq!(table["loader"]["argv"][1].as_str(), Some(argument.as_str()));
        }
    }
}
