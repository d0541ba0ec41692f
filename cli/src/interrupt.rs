//! What Ctrl-C and SIGTERM do: they end the program with its own exit code, and say how to go on where that is possible.

use crate::args::{Arguments, Command};
use crate::failure::Exit;
use crate::output;

/// Makes Ctrl-C and SIGTERM end the program at once. What a sweep has done is on disk by then; results are written when all is
/// done, so that nothing of others is left.
pub fn watch_for(arguments: &Arguments) {
    let said = match &arguments.command {
        Command::Sweep(sweep) if !sweep.merge => {
            let resume = if sweep.resume { "" } else { " --resume" };
            format!("\ninterrupted; go on with\n  {}{resume}", arguments.typed)
        }
        _ => "\ninterrupted".to_owned(),
    };
    let quiet = arguments.quiet;
    // Where there is no handler to be had, the system ends the program just the same.
    let _ = ctrlc::set_handler(move || {
        if !quiet {
            output::note(&said);
        }
        std::process::exit(Exit::Interrupted as i32);
    });
}
