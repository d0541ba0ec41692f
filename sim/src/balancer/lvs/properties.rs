//! Properties of every scheduler: what may never be picked, ties, and how shares follow weights.
