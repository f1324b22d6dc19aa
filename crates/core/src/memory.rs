//! Backends that live in the process alone.

pub mod bus;
pub mod registry;
pub mod upstream;
