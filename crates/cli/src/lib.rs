//! The command line: flags in, one call of the library, text or JSON out.
//!
//! Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 an error, 2 a
//! wrong command line. **Invariant:** no logic of its own; all it knows comes from
//! `subrosa`.

mod commands;
mod failure;
mod flags;
mod print;
mod progress;
mod remote;
mod served;
mod trust;

use clap::Parser;
use commands::Command;
use failure::Failure;
use std::process::ExitCode;

/// Private machine-learning inference: one ONNX model, any protection.
///
/// Without a command it compares four shipped models in the clear and under three-party
/// computation on MNIST, and writes report.html and report.json here.
#[derive(Parser)]
#[command(name = "subrosa", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

/// Runs the command that this process was started with.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(command) => command.run(),
        None => commands::compare::default_comparison(),
    };
    result.map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn negative_ranges_are_no_flags() {
        assert!(Cli::try_parse_from(["subrosa", "plan", "m.onnx", "--input-range", "-1,1"]).is_ok());
        assert!(Cli::try_parse_from(["subrosa", "plan", "m.onnx", "--input-range", "1"]).is_err());
        assert!(Cli::try_parse_from(["subrosa", "plan", "m.onnx", "--ring", "52"]).is_err());
        assert!(Cli::try_parse_from(["subrosa", "run", "m.onnx"]).is_err(), "--input is required");
    }
}
