//! Publisher, hub and in-memory bus over a model log.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod channels;
mod coming_back;
mod conflation;
mod decisions;
mod generations;
mod hub;
mod live;
mod membership;
mod mirror;
mod model_log;
mod pages;
mod publisher;
mod resume;
mod suites;
mod topic_admin;
mod world;
