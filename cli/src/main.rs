//! The program.

use std::process::ExitCode;

fn main() -> ExitCode {
    evenkeel::main(std::env::args_os()).into()
}
