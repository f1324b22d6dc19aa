//! The real servers: started, used with their own tools, broken and started again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod balancer;
mod kafka;
mod process;
mod proxy;
mod redis;
mod redis_cluster;
mod sentinel;
