//! Where partitions begin and end, and where a time stands in them.

use crate::admin::{Call, Client, ClientContext, Code, Duration, c, check_own, outcome};
use rdkafka::{Offset, TopicPartitionList, error::KafkaError};

/// Which offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The first.
    Earliest,
    /// The one after the last.
    Latest,
    /// The first whose timestamp is not less, in ms since 1970.
    Time(i64),
}

/// Which records count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// All that are replicated: the end is the high watermark.
    Uncommitted,
    /// None of a transaction that is open, nor what follows it: the end is the last stable offset.
    Committed,
}

/// The offset of each of these partitions of a topic, with one request to each broker that leads some of them. `None`
/// where no record is that late. By partition; those that failed are answered by themselves.
///
/// # Errors
/// When the brokers did not answer within that time.
#[allow(clippy::type_complexity)]
pub fn list_offsets<C: ClientContext>(
    client: &Client<C>,
    (topic, partitions): (&str, &[i32]),
    at: At,
    isolation: Isolation,
    within: Duration,
) -> Result<Vec<(i32, Result<Option<u64>, Code>)>, Code> {
    let at = match at {
        At::Earliest => Offset::Beginning,
        At::Latest => Offset::End,
        At::Time(time_ms) => Offset::Offset(time_ms.max(0)),
    };
    let refused = |error: KafkaError| error.rdkafka_error_code().unwrap_or(Code::InvalidArgument);
    let mut asked = TopicPartitionList::with_capacity(partitions.len());
    for &partition in partitions {
        asked.add_partition_offset(topic, partition, at).map_err(refused)?;
    }
    let call = Call::new(client, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, within);
    let isolation = match isolation {
        Isolation::Uncommitted => c::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
        Isolation::Committed => c::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
    };
    // SAFETY: options and queue are those of the call; an error is ours to free; the list is copied by the call.
    unsafe {
        check_own(c::rd_kafka_AdminOptions_set_isolation_level(call.options, isolation))?;
        c::rd_kafka_ListOffsets(call.client, asked.ptr(), call.options, call.queue);
    }
    let answer = call.wait()?;
    // SAFETY: the answer is one to this call, and lives until everything is copied from it.
    let mut offsets: Vec<_> = unsafe {
        let infos = c::rd_kafka_ListOffsets_result_infos;
        let infos = answer.list(c::rd_kafka_event_ListOffsets_result, infos)?;
        let one = |&info| &*c::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
        infos.iter().map(one).map(|one| (one.partition, offset(one))).collect()
    };
    offsets.sort_by_key(|&(partition, _)| partition);
    Ok(offsets)
}

fn offset(one: &c::rd_kafka_topic_partition_t) -> Result<Option<u64>, Code> {
    outcome(one.err)?;
    match one.offset {
        // The broker's word for none; of a partition whose leader did not answer the client says another (-1001).
        -1 => Ok(None),
        offset => u64::try_from(offset).map(Some).map_err(|_| Code::LeaderNotAvailable),
    }
}
