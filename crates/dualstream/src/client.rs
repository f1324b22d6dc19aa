//! A client of the HTTP API, for the client commands.
//!
//! It speaks plain HTTP/1.1 to one server, keeps one connection, and leaves to its callers when to try again
//! ([`backoff`]). Everything it reads is bounded.

pub mod backoff;
mod batch;
mod connection;
mod error;
pub mod events;
pub mod line_id;
pub mod lines;
pub mod nodes;
mod server;
pub mod sse;
pub mod topics;
mod websocket;

pub use batch::publish_lines;
pub use connection::{Connection, Request};
pub use error::{Error, Refusal};
pub use server::Server;
pub use websocket::{Frame, WebSocket};
