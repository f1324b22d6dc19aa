//! What consumer groups are, classic ones and those of the newer protocol (KIP-848), and who is in them.

use crate::admin::{Call, Client, ClientContext, Code, Duration, c, c_texts, check, list, text};

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its name.
    pub name: String,
    /// Its protocol, in Kafka's word: `Classic` or `Consumer` (KIP-848).
    pub kind: String,
    /// Its state, in Kafka's word: `Stable`, `Empty`, `Dead` …
    pub state: String,
    /// Who is in it.
    pub members: Vec<MemberDescription>,
}

/// A member of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its `client.id`.
    pub client: String,
    /// Where it connects from.
    pub host: String,
    /// The partitions it reads: topic and number.
    pub partitions: Vec<(String, i32)>,
}

/// Describes groups, each answered by itself; one that is not there is `Dead`, or an error where brokers say so.
///
/// # Errors
/// When no broker answered within that time.
pub fn describe_groups<C: ClientContext>(
    client: &Client<C>,
    names: &[&str],
    within: Duration,
) -> Result<Vec<Result<GroupDescription, Code>>, Code> {
    let (_names, mut asked) = c_texts(names)?;
    let call = Call::new(client, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, within);
    let (first, count) = (asked.as_mut_ptr(), asked.len());
    // SAFETY: the names live until the call has copied them. The answer is one to this call, and lives until everything is
    // copied from it.
    unsafe {
        c::rd_kafka_DescribeConsumerGroups(call.client, first, count, call.options, call.queue);
        let groups = c::rd_kafka_DescribeConsumerGroups_result_groups;
        let answer = call.wait()?;
        let groups = answer.list(c::rd_kafka_event_DescribeConsumerGroups_result, groups)?;
        Ok(groups.iter().map(|&group| describe(group)).collect())
    }
}

/// # Safety
/// `group` is alive.
unsafe fn describe(group: *const c::rd_kafka_ConsumerGroupDescription_t) -> Result<GroupDescription, Code> {
    // SAFETY: all of it is part of the group, and copied; names of kinds and states live for ever.
    unsafe {
        check(c::rd_kafka_ConsumerGroupDescription_error(group))?;
        let member = |at| member(c::rd_kafka_ConsumerGroupDescription_member(group, at));
        let kind = c::rd_kafka_ConsumerGroupDescription_type(group);
        let state = c::rd_kafka_ConsumerGroupDescription_state(group);
        Ok(GroupDescription {
            name: text(c::rd_kafka_ConsumerGroupDescription_group_id(group)),
            kind: text(c::rd_kafka_consumer_group_type_name(kind)),
            state: text(c::rd_kafka_consumer_group_state_name(state)),
            members: (0..c::rd_kafka_ConsumerGroupDescription_member_count(group)).map(member).collect(),
        })
    }
}

/// # Safety
/// `member` is alive.
unsafe fn member(member: *const c::rd_kafka_MemberDescription_t) -> MemberDescription {
    // SAFETY: all of it is part of the member, and copied; null is looked for.
    unsafe {
        let assigned = c::rd_kafka_MemberDescription_assignment(member);
        let assigned =
            assigned.as_ref().and_then(|one| c::rd_kafka_MemberAssignment_partitions(one).as_ref());
        let assigned = assigned.map_or(&[][..], |all| list(all.elems, all.cnt.unsigned_abs() as usize));
        let client = text(c::rd_kafka_MemberDescription_client_id(member));
        let host = text(c::rd_kafka_MemberDescription_host(member));
        let partitions = assigned.iter().map(|one| (text(one.topic), one.partition)).collect();
        MemberDescription { client, host, partitions }
    }
}
