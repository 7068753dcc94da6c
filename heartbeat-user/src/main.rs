//! The `heartbeat` binary.

fn main() -> std::process::ExitCode {
    heartbeat::cli::main()
}
