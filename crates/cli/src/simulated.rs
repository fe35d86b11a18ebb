//! The same program with simulated hardware, under a name of its own, so that nobody takes it for the
//! other.

fn main() -> std::process::ExitCode {
    subrosa_cli::run()
}
