//! `subrosa man FOLDER`.

use crate::failure::Result;
use crate::{Cli, print};
use clap::{Args, CommandFactory};
use std::path::PathBuf;

/// Where to.
#[derive(Args)]
pub(crate) struct Man {
    /// Where to put the pages; made if it is not there
    folder: PathBuf,
}

impl Man {
    pub(crate) fn run(self) -> Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        clap_mangen::generate_to(Cli::command(), &self.folder)?;
        print::log(&format!(
            "{}: one page a command; try man {}/subrosa.1",
            self.folder.display(),
            self.folder.display()
        ));
        Ok(())
    }
}
