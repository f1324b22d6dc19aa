//! The outside of dualstream: HTTP publishing, history, Server-Sent Events, the client protocol, health, metrics.
//!
//! ```text
//! socket ── transport ── admission ── routes ──┬─ events, ingest, messages ──> DualPublisher
//!           (framing)                          ├─ history, stream ───────────> Hub
//!                                              ├─ websocket, emulation ── session ──> both
//!                                              ├─ topics, channels, nodes ───> Operations
//!                                              └─ health, metrics, openapi, page
//! ```
//! Everything a client can see of HTTP is decided here: forms and strictness of input (`json`, `plain_event`,
//! `cloudevent`), limits and deadlines ([`Settings`]), statuses and error bodies ([`Problem`]).
//!
//! What this crate does not do: it stores nothing, orders nothing and retries nothing; it has no TLS, no HTTP/2, no
//! compression and takes no compressed bodies.
#![forbid(unsafe_code)]

mod admission;
mod app;
mod channels;
mod clients;
mod cloudevent;
mod connections;
mod emulation;
mod events;
mod exchange;
mod framing;
#[doc(hidden)]
pub mod fuzzing;
mod gateway;
mod health;
mod history;
mod inflow;
mod ingest;
mod instances;
mod json;
mod lines;
mod media_type;
mod messages;
mod metrics;
pub mod openapi;
mod operations;
mod pace;
mod page;
mod plain_event;
mod problem;
mod protocol;
mod query;
mod readiness;
mod receipt;
pub mod routes;
mod session;
mod settings;
mod since;
mod socket;
mod sse;
mod stream;
mod topic_json;
mod topics;
mod transport;
mod websocket;

pub use gateway::Gateway;
pub use metrics::{BusReading, BusStats, LogReading, LogStats, Metrics, cpu_seconds};
pub use operations::{Nodes, Operations};
pub use problem::Problem;
pub use readiness::{Part, Status};
pub use session::SessionSettings;
pub use settings::Settings;
