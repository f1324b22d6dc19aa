//! A log that stands elsewhere (Apache Kafka), read from a copy on this node.
//!
//! ```text
//!  commit ─▶ MirroredLog ─── append ──▶ Upstream            the truth: acknowledged there is acknowledged
//!                 │                        │ tail: one assigned consumer for all topics that are wanted
//!                 │                        ▼
//!                 │                     follower ─ hides repeats ─▶ MirrorStore     same offsets, same format as the
//!                 ▼                        ▲                           │            embedded log; may be deleted
//!  read ──▶ what the store holds ──────────│───────────────────────────┘
//!      └──▶ what it does not: ranges ── fetch, aligned, single-flight, cached
//! ```
//! *Readers always read a local log*: hub, history, index and dedup have one code path, whatever log is behind it. The
//! mirror is a cache: what it does not hold (older than it, or not there yet) comes through ranges, so no reader ever
//! waits for it to be whole.
//!
//! It is not a replica: nothing is acknowledged because it is here.

mod commit;
mod counters;
mod epoch;
mod followed;
mod follower;
mod foreign;
mod fresh;
mod job;
mod log;
mod losses;
mod merge;
mod ranges;
mod reading;
mod seam;
mod setbacks;
mod settings;
mod sources;
mod topic;
mod topics;
mod verify;

pub use counters::Counters;
pub use epoch::{FirstGeneration, epoch_of};
pub use foreign::Foreign;
pub use log::{MirroredLog, Runner};
pub use seam::{Checked, Described, Epochs, MirrorStore, Place, Run, Sought, Tail, Upstream, looks_back};
pub use settings::Settings;
pub use sources::MirroredSources;
pub use topics::MirroredTopics;
