//! The program from outside: the real binary as a child process, real files, real sockets.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod event_source;
mod feed;
mod main_job;
mod program;
mod server;
