//! `evenkeel explain`.

use crate::args::Explain;
use crate::failure::{Exit, Failure};
use crate::output;

/// Prints a scenario with every default filled in.
pub fn explain(explain: &Explain) -> Result<Exit, Failure> {
    output::data(&in_full(explain)?);
    Ok(Exit::Fine)
}

/// A scenario with every default filled in.
///
/// # Errors
/// It is wrong.
pub fn in_full(explain: &Explain) -> Result<String, Failure> {
    let loaded = super::load(&explain.scenario, &explain.overrides.collect())?;
    Ok(loaded.resolved.to_string())
}
