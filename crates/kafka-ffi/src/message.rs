//! What a message says of itself beyond its bytes.

use rdkafka::bindings as c;
use rdkafka::message::BorrowedMessage;

/// Whether a produced message is in its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is not, and never will be.
    Not,
    /// It may be: it was sent, and no answer came.
    Possibly,
    /// It is.
    Persisted,
}

/// The status of a message that was delivered or given up.
pub fn status(message: &BorrowedMessage<'_>) -> Status {
    // SAFETY: the pointer is that of a message that lives as long as the borrow; the call reads one field of it.
    match unsafe { c::rd_kafka_message_status(message.ptr()) } {
        c::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED => Status::Not,
        c::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_POSSIBLY_PERSISTED => Status::Possibly,
        c::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_PERSISTED => Status::Persisted,
    }
}
