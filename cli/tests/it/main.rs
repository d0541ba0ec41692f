//! Tests of the program as its users see it: what it prints, what it writes, what it ends with.

mod ci;
mod cli;
mod determinism;
mod experiments;
mod gate;
mod logs;
mod support;
