//! Replay of real access logs.
