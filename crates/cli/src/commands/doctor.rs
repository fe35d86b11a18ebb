//! `subrosa doctor`.

use crate::failure::Result;
use crate::print::{self, Colour, coloured};
use clap::Args;
use subrosa::machine::{State, checkup};

/// What to print.
#[derive(Args)]
pub(crate) struct Doctor {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(crate) fn run(self) -> Result<()> {
        let checkup = checkup();
        if self.json {
            return print::json(&checkup);
        }
        let line = |f: &subrosa::machine::Finding| format!("{} {:<11} {}\n", sign(f.state), f.what, f.note);
        print::out(&checkup.findings.iter().map(line).collect::<String>())
    }
}

fn sign(state: State) -> String {
    match state {
        State::Good => coloured("ok  ", Colour::Green),
        State::Fair => coloured("note", Colour::Yellow),
        State::Bad => coloured("bad ", Colour::Red),
    }
}
