//! Replays recordings of the real programs through tier instances, decision by decision.
