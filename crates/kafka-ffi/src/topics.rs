//! What topics are: their ids (KIP-516), who leads their partitions, and who is in sync.

use crate::admin::{Call, Client, ClientContext, Code, Duration, c, c_texts, check, list, text};

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its id: another one after it was deleted and created again; 0 on brokers that know none.
    pub id: u128,
    /// Its partitions, in their order.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number.
    pub partition: i32,
    /// The broker that leads it.
    pub leader: Option<i32>,
    /// The brokers that keep it.
    pub replicas: Vec<i32>,
    /// Those of them that have all of it.
    pub in_sync: Vec<i32>,
}

/// Describes topics, each answered by itself, in the order the broker gives them.
///
/// # Errors
/// When no broker answered within that time.
pub fn describe_topics<C: ClientContext>(
    client: &Client<C>,
    names: &[&str],
    within: Duration,
) -> Result<Vec<Result<TopicDescription, Code>>, Code> {
    let (_names, mut pointers) = c_texts(names)?;
    let call = Call::new(client, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, within);
    // SAFETY: the names live until the call has copied them; the collection is ours and freed once.
    unsafe {
        let asked = c::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        c::rd_kafka_DescribeTopics(call.client, asked, call.options, call.queue);
        c::rd_kafka_TopicCollection_destroy(asked);
    }
    let answer = call.wait()?;
    // SAFETY: the answer is one to this call, and lives until everything is copied from it.
    unsafe {
        let topics = c::rd_kafka_DescribeTopics_result_topics;
        let topics = answer.list(c::rd_kafka_event_DescribeTopics_result, topics)?;
        Ok(topics.iter().map(|&topic| describe(topic)).collect())
    }
}

/// # Safety
/// `topic` is alive.
unsafe fn describe(topic: *const c::rd_kafka_TopicDescription_t) -> Result<TopicDescription, Code> {
    // SAFETY: all of it is part of the topic, and copied.
    unsafe {
        check(c::rd_kafka_TopicDescription_error(topic))?;
        let id = c::rd_kafka_TopicDescription_topic_id(topic);
        let high = |id| c::rd_kafka_Uuid_most_significant_bits(id).cast_unsigned();
        let low = |id| c::rd_kafka_Uuid_least_significant_bits(id).cast_unsigned();
        let id = if id.is_null() { 0 } else { u128::from(high(id)) << 64 | u128::from(low(id)) };
        let mut count = 0;
        let partitions = c::rd_kafka_TopicDescription_partitions(topic, &mut count);
        let mut partitions: Vec<_> =
            list(partitions, count).iter().map(|&one| describe_partition(one)).collect();
        partitions.sort_by_key(|one| one.partition);
        Ok(TopicDescription { name: text(c::rd_kafka_TopicDescription_name(topic)), id, partitions })
    }
}

/// # Safety
/// `partition` is alive.
unsafe fn describe_partition(partition: *const c::rd_kafka_TopicPartitionInfo_t) -> PartitionDescription {
    // SAFETY: all of it is part of the partition, and copied; a broker that is not known is null.
    unsafe {
        let id = |node: *const c::rd_kafka_Node_t| (!node.is_null()).then(|| c::rd_kafka_Node_id(node));
        let (mut replicas, mut in_sync) = (0, 0);
        let kept = c::rd_kafka_TopicPartitionInfo_replicas(partition, &mut replicas);
        let synced = c::rd_kafka_TopicPartitionInfo_isr(partition, &mut in_sync);
        PartitionDescription {
            partition: c::rd_kafka_TopicPartitionInfo_partition(partition),
            leader: id(c::rd_kafka_TopicPartitionInfo_leader(partition)).filter(|&id| id >= 0),
            replicas: list(kept, replicas).iter().filter_map(|&node| id(node)).collect(),
            in_sync: list(synced, in_sync).iter().filter_map(|&node| id(node)).collect(),
        }
    }
}
