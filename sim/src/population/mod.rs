//! Clients: their addresses, their visits, and real access logs.

pub mod replay;
