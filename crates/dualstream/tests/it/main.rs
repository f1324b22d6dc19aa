//! The program from outside: the real binary as a child process, real files, real sockets.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod bench;
mod browser;
mod cli;
mod config;
mod connections;
mod corpus;
mod crowd;
mod event_source;
mod feed;
mod follow;
mod help;
mod limits;
mod log_files;
mod main_job;
mod page;
mod program;
mod readme;
mod server;
mod shutdown;
mod start;
mod topics;
