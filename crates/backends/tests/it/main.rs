//! The backends against real servers.

mod cluster;
mod following;
mod foreign;
mod publish;
mod suites;
mod topics;
