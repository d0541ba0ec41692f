//! `evenkeel explain`.

use crate::args::Explain;
use crate::failure::{Exit, Failure};
use crate::output;

/// Prints a scenario with every default filled in.
pub fn explain(explain: &Explain) -> Result<Exit, Failure> {
    let loaded = super::load(&explain.scenario, &explain.overrides.collect())?;
    output::data(&loaded.resolved.to_string());
    Ok(Exit::Fine)
}
