//! The cyclic barrier.
