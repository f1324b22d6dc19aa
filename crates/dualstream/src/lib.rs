//! dualstream as a library: the crates it is made of under one name, its settings, and the server itself.
//!
//! The program is a thin shell over this. It does not hide the crates: use them through here or directly.
#![forbid(unsafe_code)]

pub mod copy_log;
pub mod serve;
pub mod settings;
pub mod system;

pub use dualstream_core as core;
pub use dualstream_gateway as gateway;
pub use dualstream_log as log;
