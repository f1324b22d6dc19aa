//! Publisher, hub and in-memory bus over a model log.

mod hub;
mod live;
mod model_log;
mod publisher;
mod resume;
mod suites;
mod world;
