//! Runs the ONNX backend node tests through every backend and keeps the coverage table.
//!
//! ```text
//! onnx_nodes DATA TABLE LIST [--update]
//! ```
//!
//! `DATA` is `onnx/backend/test/data/node` of the Python package `onnx`. `TABLE` is the
//! generated Markdown table, `LIST` the tests that passed so far. Fails when a listed test no
//! longer passes or when the table is out of date; `--update` rewrites both, but never drops
//! a line of the list: edit it by hand, with the reason in the commit message.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

mod backend;
mod case;
mod coverage;
mod tensor;
mod tolerance;

use backend::Backend;
use case::Case;
use coverage::Coverage;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut paths = Vec::new();
    let mut update = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--update" => update = true,
            _ => paths.push(PathBuf::from(argument)),
        }
    }
    let [data, table, list] = paths.as_slice() else {
        return Err("usage: onnx_nodes DATA TABLE LIST [--update]".to_owned());
    };
    let coverage = measure(data)?;
    for line in coverage.failures() {
        println!("FAIL {line}");
    }
    println!("{}", coverage.summary());
    settle(&coverage, table, list, update)
}

/// Runs every test whose operators are all supported.
fn measure(data: &Path) -> Result<Coverage, String> {
    let entries = std::fs::read_dir(data).map_err(|e| format!("{}: {e}", data.display()))?;
    let mut folders: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    folders.sort();
    let mut coverage = Coverage::default();
    for folder in folders {
        match Case::read(&folder)? {
            Ok(case) => {
                for backend in Backend::ALL {
                    coverage.record(&case, backend, backend.run(&case));
                }
            }
            Err(why) => coverage.skip(why),
        }
    }
    Ok(coverage)
}

/// Compares with what is committed, or rewrites it.
fn settle(coverage: &Coverage, table: &Path, list: &Path, update: bool) -> Result<(), String> {
    let committed = std::fs::read_to_string(list).unwrap_or_default();
    let passed = coverage.passed();
    let listed: Vec<&str> = committed.lines().collect();
    let lost: Vec<&str> = listed.iter().copied().filter(|l| !passed.iter().any(|p| p == l)).collect();
    for line in &lost {
        println!("LOST {line}: it passed before");
    }
    for line in passed.iter().filter(|p| !listed.contains(&p.as_str())) {
        println!("NEW  {line}");
    }
    if !lost.is_empty() {
        return Err(format!("{} tests passed before and no longer do", lost.len()));
    }
    let files = [(table, coverage.table()), (list, passed.join("\n") + "\n")];
    for (path, text) in &files {
        if std::fs::read_to_string(path).is_ok_and(|old| old == *text) {
            continue;
        }
        if !update {
            return Err(format!("{} is out of date: run .ci/onnx-node-tests --update", path.display()));
        }
        std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}
