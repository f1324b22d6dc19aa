//! Settings of topics.

use crate::admin::{Call, c_text, check_own, outcome};
use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use std::time::Duration;

/// Alters settings of a topic, one by one: what is not named stays (KIP-339).
///
/// # Errors
/// What the broker says of it; none of the settings was changed then.
pub fn alter_topic<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    changes: &[(&str, &str)],
    within: Duration,
) -> Result<(), RDKafkaErrorCode> {
    let call = Call::new(client, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS, within);
    let name = c_text(topic)?;
    // SAFETY: the resource is ours, and freed when all changes were added and the call has copied it; so is each error.
    unsafe {
        let resource = c::rd_kafka_ConfigResource_new(
            c::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
            name.as_ptr(),
        );
        let added = changes.iter().try_for_each(|&(setting, value)| add(resource, setting, value));
        if added.is_ok() {
            let mut resources = [resource];
            c::rd_kafka_IncrementalAlterConfigs(
                call.client,
                resources.as_mut_ptr(),
                resources.len(),
                call.options,
                call.queue,
            );
        }
        c::rd_kafka_ConfigResource_destroy(resource);
        added?;
    }
    let answer = call.wait()?;
    // SAFETY: the answer is one to this call, and lives until everything is copied from it.
    unsafe {
        let resources = answer.list(
            c::rd_kafka_event_IncrementalAlterConfigs_result,
            c::rd_kafka_IncrementalAlterConfigs_result_resources,
        )?;
        resources.iter().try_for_each(|&resource| outcome(c::rd_kafka_ConfigResource_error(resource)))
    }
}

/// # Safety
/// `resource` is alive.
unsafe fn add(
    resource: *mut c::rd_kafka_ConfigResource_t,
    setting: &str,
    value: &str,
) -> Result<(), RDKafkaErrorCode> {
    let (setting, value) = (c_text(setting)?, c_text(value)?);
    let set = c::rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET;
    // SAFETY: name and value are copied; the error is ours, and freed once.
    unsafe {
        check_own(c::rd_kafka_ConfigResource_add_incremental_config(
            resource,
            setting.as_ptr(),
            set,
            value.as_ptr(),
        ))
    }
}
