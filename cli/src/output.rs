//! Writing to the terminal. A closed pipe ends the program quietly.

use std::io::Write;

use anstyle::{AnsiColor, Style};

/// The style of errors.
const ERROR: Style = AnsiColor::Red.on_default().bold();

/// Prints data.
pub fn data(text: &str) {
    finish(write!(anstream::stdout(), "{text}"));
}

/// Prints data and a line end.
pub fn line(text: &str) {
    finish(writeln!(anstream::stdout(), "{text}"));
}

/// Prints a note for people, apart from the data.
pub fn note(text: &str) {
    // A note that cannot be shown is no reason to fail.
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Prints an error.
pub fn error(text: &str) {
    note(&format!("{ERROR}error{ERROR:#}: {text}"));
}

fn finish(written: std::io::Result<()>) {
    if let Err(error) = written.and_then(|()| anstream::stdout().flush()) {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        note(&format!("cannot print: {error}"));
        std::process::exit(2);
    }
}
