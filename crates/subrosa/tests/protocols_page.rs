//! The parts of `docs/protocols.md` that the code itself states: every protection's claim, and
//! what `plan` predicts. After an intended change: `SUBROSA_BLESS=1 cargo test -p subrosa`.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use subrosa::{InputSpec, Model, PlanOptions, Via, text};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocols.md");
const MODELS: [&str; 3] = ["mlp", "cnn", "lenet"];
/// Samples in one inference.
const BATCH: usize = 128;

#[test]
fn the_page_says_what_the_code_says() {
    let page = fs::read_to_string(PAGE).unwrap();
    let current = with(&with(&page, "claims", &claims()), "costs", &costs());
    if std::env::var_os("SUBROSA_BLESS").is_some() {
        fs::write(PAGE, &current).unwrap();
        return;
    }
    assert!(page == current, "docs/protocols.md is not what the code says; SUBROSA_BLESS=1 writes it");
}

/// The page with what stands between a part's marks replaced.
fn with(page: &str, part: &str, text: &str) -> String {
    let (begin, end) =
        (format!("<!-- {part}: crates/subrosa/tests/protocols_page.rs -->"), format!("<!-- end of {part} -->"));
    let (before, rest) = page.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    format!("{before}{begin}\n\n{text}\n{end}{after}")
}

fn claims() -> String {
    let mut list = String::new();
    let mut before: Option<Via> = None;
    for via in Via::ALL {
        let claim = via.claim();
        writeln!(list, "- **`{via}`**: {}. {}.", claim.summary, stated(via)).unwrap();
        match before.filter(|other| other.claim().learns == claim.learns) {
            Some(other) => writeln!(list, "  - as `{other}`").unwrap(),
            None => claim.learns.iter().for_each(|learns| writeln!(list, "  - {learns}").unwrap()),
        }
        before = Some(via);
    }
    list
}

/// Adversary, threshold, security and source.
fn stated(via: Via) -> String {
    let claim = via.claim();
    format!(
        "Adversary: {}; of {}, {} may collude; {} bits. Source: {}",
        claim.adversary,
        text::counted(claim.parties, "party").replace("partys", "parties"),
        claim.threshold,
        claim.security_bits,
        via.source()
    )
}

fn costs() -> String {
    let mut table =
        "| Model | Via | Rounds online | Bytes online | Rounds offline | Bytes offline |\n|---|---|---|---|---|---|\n"
            .to_owned();
    for name in MODELS {
        let model = Model::open(shipped(name)).unwrap();
        for via in Via::ALL.into_iter().filter(|via| via.protocol().is_some()) {
            let input = InputSpec::given(0.0, 1.0).unwrap();
            let plan = model.plan(&PlanOptions { via, batch: BATCH, input, ..PlanOptions::default() }).unwrap();
            let fixed = plan.sheet().fixed.as_ref().unwrap();
            let each = |bytes: u64| text::thousands(bytes.div_ceil(BATCH as u64));
            let (online, offline) = (fixed.online, fixed.offline);
            writeln!(
                table,
                "| {name} | `{via}` | {} | {} | {} | {} |",
                online.rounds,
                each(online.bytes),
                offline.rounds,
                each(offline.bytes)
            )
            .unwrap();
        }
    }
    table
}

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../models/{name}.onnx"))
}
