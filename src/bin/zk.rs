//! The command `zk`.

use std::process::ExitCode;

fn main() -> ExitCode {
    zkcells::cli::main()
}
