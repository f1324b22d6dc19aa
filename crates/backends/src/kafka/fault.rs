//! What a consumer says is wrong with a partition, in the words of dualstream.

use dualstream_core::topic::TopicName;
use dualstream_core::{Error, ErrorKind};
use rdkafka::error::RDKafkaErrorCode as Code;

/// An error that came instead of a record.
pub(crate) fn of_partition(code: Code, topic: &TopicName, partition: u32) -> Error {
    let (kind, word, what) = match code {
        Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => {
            (ErrorKind::Gone, "position_unrecoverable", "the position is not in the partition any more")
        }
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicId => (ErrorKind::NotFound, "unknown_topic", "Kafka has no such partition"),
        Code::TopicAuthorizationFailed => {
            (ErrorKind::Denied, "kafka_denied", "Kafka does not let this server read it")
        }
        Code::BadMessage | Code::BadCompression | Code::InvalidMessage => {
            (ErrorKind::Corrupt, "log_corrupt", "Kafka gave records that are damaged")
        }
        _ => (ErrorKind::Unavailable, "log_unavailable", "Kafka cannot give records of it"),
    };
    Error::new(kind, word, format!("partition {partition} of '{topic}': {what}")).with_source(code)
}
