//! Apache Kafka as the log, through librdkafka.
//!
//! ```text
//!  KafkaUpstream ─┬─ append ────▶ producer   one idempotent producer, one thread that takes its outcomes
//!                 ├─ describe ──▶ describe   what a topic is, where its partitions begin and end
//!                 ├─ fetch ─────▶ range      records of a span
//!                 └─ tail ──────▶ tail       one assigned consumer over all partitions that are followed
//!  KafkaTopics ─────────────────▶ topics     administration
//! ```
//! Every client is made from the same [`Settings`], by `client`: what keeps events safe is fixed there.

mod client;
mod describe;
mod diagnoses;
mod fault;
mod outcome;
mod producer;
mod range;
mod records;
mod settings;
mod tail;
mod topics;
mod upstream;

pub use settings::Settings;
pub use topics::KafkaTopics;
pub use upstream::KafkaUpstream;
