//! The gateway from outside: raw bytes over TCP against a server in this process, over a log of twelve partitions in
//! memory.
#![allow(clippy::unwrap_used, reason = "a test may fail anywhere")]

mod bad_requests;
mod channels;
mod connections;
mod documents;
mod emulation;
mod event_streams;
mod framing;
mod nodes;
mod page;
mod pages;
mod peer;
mod publishing;
mod reading;
mod sdk;
mod sdk_go;
mod server;
mod sessions;
mod shutdown;
mod stream_client;
mod tiny_log;
mod topics;
mod websocket_commands;
mod websocket_conflation;
mod websocket_frames;
mod websocket_life;
mod websocket_resume;
mod wire;
