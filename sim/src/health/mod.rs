//! Who is taken for dead: passive rules (nginx) and active checks (keepalived).

pub mod active;
