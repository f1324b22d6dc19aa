//! Settings of topics.

use crate::admin::{Call, Client, ClientContext, Code, Duration, c, c_texts, check_own, outcome};

/// Alters settings of a topic, one by one: what is not named stays (KIP-339).
///
/// # Errors
/// What the broker says of it; none of the settings was changed then.
pub fn alter_topic<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    changes: &[(&str, &str)],
    within: Duration,
) -> Result<(), Code> {
    let call = Call::new(client, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS, within);
    let (_name, name) = c_texts(&[topic])?;
    // SAFETY: the resource is ours, and freed when all changes were added and the call has copied it; so is each error. The
    // answer is one to this call, and lives until everything is copied from it.
    unsafe {
        let kind = c::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
        let resource = c::rd_kafka_ConfigResource_new(kind, name[0]);
        let added = changes.iter().try_for_each(|&(setting, value)| add(resource, setting, value));
        if added.is_ok() {
            c::rd_kafka_IncrementalAlterConfigs(call.client, &mut { resource }, 1, call.options, call.queue);
        }
        c::rd_kafka_ConfigResource_destroy(resource);
        added?;
        let answer = call.wait()?;
        let resources = c::rd_kafka_IncrementalAlterConfigs_result_resources;
        let resources = answer.list(c::rd_kafka_event_IncrementalAlterConfigs_result, resources)?;
        resources.iter().try_for_each(|&resource| outcome(c::rd_kafka_ConfigResource_error(resource)))
    }
}

/// # Safety
/// `resource` is alive.
unsafe fn add(resource: *mut c::rd_kafka_ConfigResource_t, setting: &str, value: &str) -> Result<(), Code> {
    let (_texts, at) = c_texts(&[setting, value])?;
    let set = c::rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET;
    // SAFETY: name and value are copied; the error is ours, and freed once.
    unsafe { check_own(c::rd_kafka_ConfigResource_add_incremental_config(resource, at[0], set, at[1])) }
}
