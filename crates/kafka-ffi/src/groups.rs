//! Consumer groups of either protocol (KIP-848 and before).

use crate::admin::{Call, Failure, c_text, check, list, text};
use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use std::ffi::CString;
use std::time::Duration;

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its id.
    pub id: String,
    /// Its state, in Kafka's words (`Stable`, `Empty`, `Assigning`, …).
    pub state: String,
    /// Its protocol, in Kafka's words (`Consumer` is KIP-848, `Classic` what was before).
    pub protocol: String,
    /// How partitions are dealt out.
    pub assignor: String,
    /// Who is in it.
    pub members: Vec<MemberDescription>,
}

/// A member of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Given by the group.
    pub id: String,
    /// What the client calls itself.
    pub client: String,
    /// Where it is.
    pub host: String,
    /// Its partitions: topic and number.
    pub partitions: Vec<(String, i32)>,
}

/// Describes groups, each answered by itself.
///
/// # Errors
/// When no broker answered within that time.
pub fn describe_groups<C: ClientContext>(
    client: &Client<C>,
    ids: &[&str],
    within: Duration,
) -> Result<Vec<Result<GroupDescription, Failure>>, Failure> {
    let ids = ids.iter().map(|id| c_text(id)).collect::<Result<Vec<CString>, _>>()?;
    let mut pointers: Vec<_> = ids.iter().map(|id| id.as_ptr()).collect();
    let call = Call::new(client, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, within);
    // SAFETY: the ids live until the call has copied them.
    unsafe {
        let (first, count) = (pointers.as_mut_ptr(), pointers.len());
        c::rd_kafka_DescribeConsumerGroups(call.client, first, count, call.options, call.queue);
    }
    let answer = call.wait()?;
    // SAFETY: the answer is one to this call, and lives until everything is copied from it.
    unsafe {
        let result = c::rd_kafka_event_DescribeConsumerGroups_result(answer.event.as_ptr());
        if result.is_null() {
            return Err(RDKafkaErrorCode::BadMessage.into());
        }
        let mut count = 0;
        let groups = c::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
        Ok(list(groups, count).iter().map(|&group| describe(group)).collect())
    }
}

/// # Safety
/// `group` is alive.
unsafe fn describe(
    group: *const c::rd_kafka_ConsumerGroupDescription_t,
) -> Result<GroupDescription, Failure> {
    // SAFETY: all of it is part of the group, or a name that is never freed, and copied.
    unsafe {
        check(c::rd_kafka_ConsumerGroupDescription_error(group))?;
        let state = c::rd_kafka_ConsumerGroupDescription_state(group);
        let protocol = c::rd_kafka_ConsumerGroupDescription_type(group);
        let count = c::rd_kafka_ConsumerGroupDescription_member_count(group);
        let member = |index| describe_member(c::rd_kafka_ConsumerGroupDescription_member(group, index));
        Ok(GroupDescription {
            id: text(c::rd_kafka_ConsumerGroupDescription_group_id(group)),
            state: text(c::rd_kafka_consumer_group_state_name(state)),
            protocol: text(c::rd_kafka_consumer_group_type_name(protocol)),
            assignor: text(c::rd_kafka_ConsumerGroupDescription_partition_assignor(group)),
            members: (0..count).map(member).collect(),
        })
    }
}

/// # Safety
/// `member` is alive.
unsafe fn describe_member(member: *const c::rd_kafka_MemberDescription_t) -> MemberDescription {
    // SAFETY: all of it is part of the member, and copied.
    unsafe {
        let partitions =
            c::rd_kafka_MemberAssignment_partitions(c::rd_kafka_MemberDescription_assignment(member));
        let partitions = partitions.as_ref();
        let elements =
            partitions.map_or(&[][..], |all| list(all.elems, usize::try_from(all.cnt).unwrap_or(0)));
        MemberDescription {
            id: text(c::rd_kafka_MemberDescription_consumer_id(member)),
            client: text(c::rd_kafka_MemberDescription_client_id(member)),
            host: text(c::rd_kafka_MemberDescription_host(member)),
            partitions: elements.iter().map(|one| (text(one.topic), one.partition)).collect(),
        }
    }
}
