//! temp
use super::*;
impl Distribution {
    /// temp
    pub fn residual(&self, stream: &Stream, entity: u64, index: u64) -> f64 {
        self.sample(stream, entity, index)
    }
}
