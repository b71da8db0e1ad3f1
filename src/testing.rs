//! For tests: real local cells, faults, and the suite that holds every connection to the contract.
//!
//! This module is there with the feature `testing`.

pub mod cells;
pub mod contract;
pub mod history;
pub mod proxy;
pub mod servers;
pub mod wire;
