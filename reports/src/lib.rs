//! What people read of a result: tables for the terminal, charts, a self-contained HTML report, tidy CSV, and the folder that
//! holds them.
//!
//! Everything is made from one [`Summary`](evenkeel_sim::experiment::summary::Summary) and is a function of it alone: equal
//! summaries give equal bytes, wherever and whenever they are written. The one exception is [`folder::Provenance`].

pub mod advice;
pub mod causes;
pub mod charts;
pub mod effects;
pub mod experiment_tables;
pub mod fit;
pub mod folder;
pub mod format;
pub mod gate;
pub mod html;
mod lookup;
pub mod model;
mod parquet_columns;
pub mod sweep;
mod tables;
pub mod text;

#[cfg(test)]
mod fixture;

pub use folder::{Provenance, ReportError, ReportInputs, Written, write};
pub use model::{Align, Cell, Column, Emphasis, TableModel};
pub use tables::parquet_tables;
pub use text::{decisive_table, fault_lines, findings, tier_lines, trace_table, verdict_line};
