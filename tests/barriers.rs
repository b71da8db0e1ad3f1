//! Barriers
