//! Real servers, started on free ports of loopback in directories of their own: Apache Kafka (one broker or three) and
//! Redis (one server, with Sentinels, a cluster), and a load balancer (nginx, HAProxy). Tests start, break and end them
//! through this, and so does `cargo xtask services`.
//!
//! ```text
//! Kafka ─┐               ┌─ kill, pause, resume, restart on the same port
//! Redis ─┴─▶ Process ────┤
//!   ▲                    └─ ended with the value, by its pid
//!   └──────── Proxy ────── delay, hold, drop, cut, reset, refuse; one for each server of a proxied setup
//! ```
//! Nothing is shared with a service of the system: other ports, other directories, nothing running is assumed. What must
//! be installed: a Java runtime of version 17 or newer and Maven for Kafka, whose jars are fetched once
//! ([`jars`]); `redis-server` for Redis, and `openssl` for one with TLS; `nginx` and `haproxy`. Not part of the product.
#![forbid(unsafe_code)]

pub mod background;
pub mod balancer;
pub mod jars;
pub mod kafka;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod tls;

pub use background::{Background, Service};
pub use balancer::Balancer;
pub use kafka::Kafka;
pub use process::Process;
pub use proxy::Proxy;
pub use redis::Redis;
