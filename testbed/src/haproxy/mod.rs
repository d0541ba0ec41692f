//! stub
use crate::{Fault, dice::Dice, process::Installed, recording::Files, script::*, stage::Network};
#[derive(Clone, Debug)]
pub(crate) struct Setup;
impl Setup {
    pub(crate) fn run(&self, _: &[Step], _: &Installed) -> Result<Files, Fault> {
        Err(Fault::Late { what: "stub" })
    }
    pub(crate) fn simpler(&self) -> Vec<Self> {
        vec![]
    }
}
pub(crate) fn generate(_: &mut Dice, _: Network) -> Script<Setup> {
    Script { setup: Setup, steps: vec![] }
}
