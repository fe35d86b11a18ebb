//! The program `subrosa`.

fn main() -> std::process::ExitCode {
    subrosa_cli::run()
}
