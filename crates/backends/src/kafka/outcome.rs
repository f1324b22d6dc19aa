//! What librdkafka and the brokers say went wrong, in the words of dualstream: what the caller should do, and which setting
//! to look at.

use dualstream_core::log::Appended;
use dualstream_core::{Error, ErrorKind};
use dualstream_kafka_ffi::Status;
use rdkafka::error::RDKafkaErrorCode as Code;

/// What became of a record, by its status: an error says nothing about it.
pub(crate) fn appended(status: Status, offset: i64, error: Option<Code>) -> Appended {
    match (status, u64::try_from(offset)) {
        (Status::Persisted, Ok(offset)) => Appended::Stored(offset),
        // A retry of one whose first answer was lost so long ago that the broker no longer knows where it stands.
        (Status::Persisted, Err(_)) => Appended::Failed(unknown(error)),
        (Status::Possibly, _) => Appended::Failed(unknown(error)),
        (Status::Not, _) => Appended::Failed(refused(error.unwrap_or(Code::Fail))),
    }
}

/// Whether a record waited its whole time in vain.
pub(crate) fn is_timed_out(outcome: &Appended) -> bool {
    let Appended::Failed(error) = outcome else { return false };
    let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    matches!(cause, Some(Code::MessageTimedOut))
}

/// Adds to a failure what was found out about it.
pub(crate) fn explain(outcome: &mut Appended, why: &str) {
    if let Appended::Failed(error) = outcome {
        let message = format!("{}: {why}", error.message());
        *error = Error::new(error.kind(), error.code(), message).with_source(Code::MessageTimedOut);
    }
}

/// It may be stored.
pub(crate) fn unknown(error: Option<Code>) -> Error {
    let message = "Kafka did not say whether the record is stored";
    let unknown = Error::new(ErrorKind::Unknown, "outcome_unknown", message);
    match error {
        Some(code) => unknown.with_source(code),
        None => unknown,
    }
}

/// It was not done, and will not be.
pub(crate) fn refused(code: Code) -> Error {
    let (kind, word, what) = match code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => (
            ErrorKind::TooLarge,
            "record_too_large",
            "Kafka does not take a record of this size: raise `max.message.bytes` of the topic (of the broker: \
             `message.max.bytes`), or with it `kafka.message.max.bytes`",
        ),
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicId => {
            (ErrorKind::NotFound, "unknown_topic", "Kafka has no such topic or partition")
        }
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed | Code::PolicyViolation => (
            ErrorKind::Denied,
            "kafka_denied",
            "Kafka does not let this server do it: look at its ACLs and policies",
        ),
        Code::InvalidRecord | Code::InvalidTimestamp => (
            ErrorKind::Invalid,
            "invalid_record",
            "Kafka does not take such a record: a compacted topic wants a key, and times within \
             `message.timestamp.before.max.ms` and `…after.max.ms`",
        ),
        Code::TopicAlreadyExists => (ErrorKind::Conflict, "topic_exists", "Kafka has a topic of that name"),
        Code::InvalidPartitions => {
            (ErrorKind::Invalid, "invalid_partitions", "Kafka does not take such a number of partitions")
        }
        Code::InvalidTopic => {
            (ErrorKind::Invalid, "invalid_topic", "Kafka does not take such a name of a topic")
        }
        Code::InvalidConfig => {
            (ErrorKind::Invalid, "invalid_setting", "Kafka does not take such a setting of a topic")
        }
        Code::InvalidReplicationFactor => {
            (ErrorKind::Unavailable, "log_unavailable", "fewer brokers are there than a topic has replicas")
        }
        Code::UnsupportedVersion | Code::UnsupportedFeature | Code::UnsupportedForMessageFormat => (
            ErrorKind::Unavailable,
            "kafka_too_old",
            "the brokers of Kafka are too old for this: 2.3 or newer can do all that is needed, 0.11 or newer all but altering topics; 4.0 or newer is recommended",
        ),
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => (
            ErrorKind::Unavailable,
            "log_unavailable",
            "fewer replicas are in sync than `min.insync.replicas` of the topic asks for: brokers are away",
        ),
        Code::MessageTimedOut | Code::OperationTimedOut | Code::RequestTimedOut => {
            (ErrorKind::Unavailable, "log_unavailable", "Kafka did not answer in time")
        }
        _ => (ErrorKind::Unavailable, "log_unavailable", "Kafka did not do it"),
    };
    Error::new(kind, word, what).with_source(code)
}

/// What is wrong with the way to the brokers: the setting that is the first to look at.
pub(crate) fn setting_of(code: Code, reason: &str) -> &'static str {
    // A broker refuses who shows no certificate of his own with an alert of TLS, and the client sees a lost connection.
    const REFUSALS: [&str; 2] = ["alert bad certificate", "alert certificate required"];
    match code {
        _ if REFUSALS.iter().any(|refusal| reason.contains(refusal)) => {
            "the certificate of this client was refused, look at `kafka.ssl.certificate.location` and `kafka.ssl.key.location`"
        }
        Code::Authentication | Code::SaslAuthenticationFailed => {
            "the credentials were refused, look at `kafka.sasl.mechanism`, `kafka.sasl.username` and `kafka.sasl.password`"
        }
        Code::SSL => "look at `kafka.security.protocol` and `kafka.ssl.ca.location`",
        Code::Resolve => "the name is not known, look at the setting `kafka`",
        Code::UnsupportedVersion | Code::UnsupportedFeature => "the brokers are too old",
        _ => "look at the setting `kafka` and at `kafka.security.protocol`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(appended: Appended) -> (ErrorKind, &'static str) {
        match appended {
            Appended::Failed(error) => (error.kind(), error.code()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_status_decides() {
        assert_eq!(appended(Status::Persisted, 7, None), Appended::Stored(7));
        for code in
            [Code::MessageTimedOut, Code::TopicAuthorizationFailed, Code::NotEnoughReplicasAfterAppend]
        {
            let possibly = error(appended(Status::Possibly, -1, Some(code)));
            assert_eq!(possibly, (ErrorKind::Unknown, "outcome_unknown"), "{code}");
            assert_ne!(error(appended(Status::Not, -1, Some(code))).0, ErrorKind::Unknown, "{code}");
        }
        // Stored before, where is not known any more.
        assert_eq!(error(appended(Status::Persisted, -1001, None)), (ErrorKind::Unknown, "outcome_unknown"));
    }

    #[test]
    fn what_is_definite_has_a_word() {
        let all = [
            (Code::MessageSizeTooLarge, ErrorKind::TooLarge, "record_too_large"),
            (Code::UnknownTopic, ErrorKind::NotFound, "unknown_topic"),
            (Code::TopicAuthorizationFailed, ErrorKind::Denied, "kafka_denied"),
            (Code::InvalidRecord, ErrorKind::Invalid, "invalid_record"),
            (Code::UnsupportedVersion, ErrorKind::Unavailable, "kafka_too_old"),
            (Code::MessageTimedOut, ErrorKind::Unavailable, "log_unavailable"),
            (Code::PurgeQueue, ErrorKind::Unavailable, "log_unavailable"),
        ];
        for (code, kind, word) in all {
            assert_eq!(error(appended(Status::Not, -1, Some(code))), (kind, word), "{code}");
        }
    }
}
