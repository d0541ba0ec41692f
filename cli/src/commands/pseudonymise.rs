//! `evenkeel pseudonymise`.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use evenkeel_sim::population::replay::{Pseudonyms, Rewritten, rewrite};

use crate::args::{Arguments, Pseudonymise};
use crate::failure::{Exit, Failure};
use crate::output;

/// Writes logs with pseudonyms in place of addresses.
pub fn pseudonymise(arguments: &Pseudonymise, all: &Arguments) -> Result<Exit, Failure> {
    let key = Pseudonyms::from_file(&arguments.key).map_err(|error| Failure::usage(error.to_string()))?;
    let format = arguments.log_format.as_deref().map(str::parse).transpose();
    let format = format.map_err(|error| Failure::usage(format!("`--log-format` is {error}")))?;
    let mut out: Box<dyn Write> = match &arguments.out {
        Some(file) if file != Path::new("-") => Box::new(File::create(file).map_err(|error| {
            Failure::usage(format!(
                "{}: cannot write: {error}\n  choose another file with `--out`",
                file.display()
            ))
        })?),
        _ => Box::new(io::stdout()),
    };
    let mut out = BufWriter::new(&mut out);
    let mut done = Rewritten::default();
    for file in &arguments.logs {
        let name = file.display().to_string();
        let input: Box<dyn Read> = if file == Path::new("-") {
            Box::new(io::stdin().lock())
        } else {
            Box::new(
                File::open(file)
                    .map_err(|error| Failure::usage(format!("{name}: cannot open the log: {error}")))?,
            )
        };
        let of_file =
            rewrite(&name, input, format.as_ref(), &key, &mut out).map_err(super::fit::read_failure)?;
        done.written += of_file.written;
        done.left_out += of_file.left_out;
    }
    out.flush().map_err(|error| Failure::usage(format!("cannot write: {error}")))?;
    if !all.quiet {
        output::note(&format!(
            "{} lines written, {} left out because they could not be read; queries and referring pages are as they were",
            done.written, done.left_out
        ));
    }
    Ok(if done.written > 0 { Exit::Fine } else { Exit::NothingRan })
}
