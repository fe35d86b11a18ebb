//! `subrosa completions SHELL`.

use crate::failure::Result;
use crate::{Cli, print};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// For which shell.
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "subrosa", &mut script);
        print::out(&String::from_utf8_lossy(&script))
    }
}
