//! What passed, as a table for readers and a list for the machine.

use crate::backend::Backend;
use crate::case::Case;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// The result of one test on one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All outputs are near enough.
    Passed,
    /// Not supported, and said so.
    Refused(String),
    /// Wrong, or an error where none is due.
    Failed(String),
}

/// All results.
#[derive(Default)]
pub(crate) struct Coverage {
    /// (row, test, backend) to outcome.
    outcomes: BTreeMap<(String, String, Backend), Outcome>,
    skipped: BTreeMap<String, usize>,
}

/// Row for tests whose graph has several operators.
const COMPOSITE: &str = "several operators";

impl Coverage {
    pub(crate) fn record(&mut self, case: &Case, backend: Backend, outcome: Outcome) {
        let mut operators = case.operators.iter();
        let row = match (operators.next(), operators.next()) {
            (Some(only), None) => only.clone(),
            _ => COMPOSITE.to_owned(),
        };
        self.outcomes.insert((row, case.name.clone(), backend), outcome);
    }

    pub(crate) fn skip(&mut self, why: String) {
        *self.skipped.entry(why).or_default() += 1;
    }

    /// One line for each failure.
    pub(crate) fn failures(&self) -> Vec<String> {
        let failed = |((_, test, backend), outcome): (&(String, String, Backend), &Outcome)| match outcome {
            Outcome::Failed(why) => Some(format!("{} {test}: {why}", backend.name())),
            Outcome::Passed | Outcome::Refused(_) => None,
        };
        self.outcomes.iter().filter_map(failed).collect()
    }

    /// One line for each pass, sorted: `backend test`.
    pub(crate) fn passed(&self) -> Vec<String> {
        let passed = self.outcomes.iter().filter(|(_, o)| **o == Outcome::Passed);
        let mut lines: Vec<String> = passed.map(|((_, test, b), _)| format!("{} {test}", b.name())).collect();
        lines.sort();
        lines
    }

    /// One line for a terminal.
    pub(crate) fn summary(&self) -> String {
        let mut text = String::new();
        for backend in Backend::ALL {
            let (passed, refused, failed) = self.count(|_, b| b == backend);
            let _ = write!(text, "{}: {passed} passed, {refused} refused, {failed} failed; ", backend.name());
        }
        let skipped: usize = self.skipped.values().sum();
        text + &format!("{skipped} tests of operators or types that are not supported")
    }

    /// Passed, refused, failed among the rows and backends chosen.
    fn count(&self, chosen: impl Fn(&str, Backend) -> bool) -> (usize, usize, usize) {
        let outcomes = self.outcomes.iter().filter(|((row, _, b), _)| chosen(row, *b));
        outcomes.fold((0, 0, 0), |(p, r, f), (_, outcome)| match outcome {
            Outcome::Passed => (p + 1, r, f),
            Outcome::Refused(_) => (p, r + 1, f),
            Outcome::Failed(_) => (p, r, f + 1),
        })
    }

    /// The generated page.
    pub(crate) fn table(&self) -> String {
        let mut page = HEAD.to_owned();
        let names: Vec<&str> = Backend::ALL.iter().map(|b| b.name()).collect();
        let _ = writeln!(page, "| Operator | Becomes, limits | Tests | {} |", names.join(" | "));
        let _ = writeln!(page, "|---|---|---|{}", "---|".repeat(names.len()));
        for op in subrosa_graph::supported_ops() {
            page += &self.row(op.name, op.note);
        }
        page += &self.row(COMPOSITE, "ONNX's own definitions of larger operators by smaller ones");
        page + &self.refusals()
    }

    fn row(&self, row: &str, note: &str) -> String {
        let tests = self.count(|r, b| r == row && b == Backend::PLAIN);
        let total = tests.0 + tests.1 + tests.2;
        let mut line = format!("| {row} | {note} | {total} |");
        for backend in Backend::ALL {
            let (passed, _, _) = self.count(|r, b| r == row && b == backend);
            let _ = write!(line, " {passed} |");
        }
        line + "\n"
    }

    /// Tests that did not pass everywhere, by reason.
    fn refusals(&self) -> String {
        let mut reasons: BTreeMap<(&str, &str, &str), BTreeSet<&str>> = BTreeMap::new();
        for ((row, test, _), outcome) in &self.outcomes {
            let (verdict, why) = match outcome {
                Outcome::Passed => continue,
                Outcome::Refused(why) => ("refused", why.as_str()),
                // The value itself differs from run to run.
                Outcome::Failed(_) => ("fails", "a value out of tolerance, or an error; run the script to see it"),
            };
            reasons.entry((row, verdict, why)).or_default().insert(test);
        }
        let mut page = "\n## What does not pass\n\n| Operator | | Why | Tests |\n|---|---|---|---|\n".to_owned();
        for ((row, verdict, why), tests) in reasons {
            let why = why.replace('|', "\\|").replace('\n', " ");
            let _ = writeln!(page, "| {row} | {verdict} | {why} | {} |", abridge(&tests));
        }
        page
    }
}

/// The first few names, and how many more.
fn abridge(tests: &BTreeSet<&str>) -> String {
    const SHOWN: usize = 3;
    let names: Vec<&str> = tests.iter().take(SHOWN).copied().collect();
    match tests.len().saturating_sub(SHOWN) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

const HEAD: &str = "<!-- Written by .ci/onnx-node-tests --update; do not edit. -->
# ONNX coverage

The supported operators, and how many of the backend node tests of `onnx` 1.17.0 pass on each backend. A test counts for
an operator when its graph consists of that operator alone. *Refused* means that import or planning said what is not
supported, before anything was computed; *fails* means a wrong value. Tests of other operators, and of strings,
sequences and integer inputs, are left out.

`plain` runs the model in the clear; `oracle` is the fixed-point reference in the clear, which every protocol must
equal; `rep3`, `rep3-malicious`, `rep4`, `beaver` (of two parties) and `fss` are protocols between parties, whose rounds and
bytes are also held
against the plan's; `ckks` computes on ciphertexts what is linear or a polynomial. It approximates other activations on
calibration data, and refuses them here, where there is none.
Inputs are secret where possible; where an operator needs a constant there, the test's values are made weights.

";
