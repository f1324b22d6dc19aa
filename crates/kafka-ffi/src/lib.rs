//! The few calls of librdkafka that its safe Rust API lacks, each wrapped in a safe function that says why it is sound.
//!
//! It is the one crate with `unsafe`, and holds nothing else: no state, no threads, no decisions. What it hands out either
//! owns its memory or borrows the client that does. Calls of administration block until they are answered or their time
//! is over.
#![deny(unsafe_op_in_unsafe_fn)]

mod admin;
mod batch;
mod configs;
mod groups;
mod lines;
mod message;
mod offsets;
mod topics;

pub use batch::{Batch, Message, Stamp, consume, wake};
pub use configs::alter_topic;
pub use groups::{GroupDescription, MemberDescription, describe_groups};
pub use lines::Lines;
pub use message::{Status, status};
pub use offsets::{At, Isolation, list_offsets};
pub use topics::{PartitionDescription, TopicDescription, describe_topics};
