//! Settings of topics and of clients.

use crate::admin::{Call, Failure, c_text, check_own, list, text};
use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::RDKafkaErrorCode;
use std::collections::BTreeMap;
use std::time::Duration;

/// Alters settings of a topic, one by one: what is not named stays (KIP-339). `None` takes the broker's default again.
///
/// # Errors
/// What the broker says of it; none of the settings was changed then.
pub fn alter_topic<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    changes: &[(&str, Option<&str>)],
    within: Duration,
) -> Result<(), Failure> {
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
        let result = c::rd_kafka_event_IncrementalAlterConfigs_result(answer.event.as_ptr());
        if result.is_null() {
            return Err(RDKafkaErrorCode::BadMessage.into());
        }
        let mut count = 0;
        let resources = c::rd_kafka_IncrementalAlterConfigs_result_resources(result, &mut count);
        list(resources, count).iter().try_for_each(|&resource| {
            match c::rd_kafka_ConfigResource_error(resource) {
                c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
                code => {
                    let reason = text(c::rd_kafka_ConfigResource_error_string(resource));
                    Err(Failure { code: code.into(), reason })
                }
            }
        })
    }
}

/// # Safety
/// `resource` is alive.
unsafe fn add(
    resource: *mut c::rd_kafka_ConfigResource_t,
    setting: &str,
    value: Option<&str>,
) -> Result<(), Failure> {
    let (setting, value) = (c_text(setting)?, value.map(c_text).transpose()?);
    let (kind, value) = match &value {
        Some(value) => (c::rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET, value.as_ptr()),
        None => (c::rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE, std::ptr::null()),
    };
    // SAFETY: name and value are copied; the error is ours, and freed once.
    unsafe {
        check_own(c::rd_kafka_ConfigResource_add_incremental_config(resource, setting.as_ptr(), kind, value))
    }
}

/// All properties of a client as librdkafka goes by them, its defaults included, those of topics too. Passwords are among
/// them.
pub fn effective<C: ClientContext>(client: &Client<C>) -> BTreeMap<String, String> {
    let (mut of_client, mut of_topics) = (0, 0);
    // SAFETY: the configuration is part of the client, which only reads it from its creation on. Each dump is an array of
    // names and values by turns, copied and then freed once.
    unsafe {
        let config = c::rd_kafka_conf(client.native_ptr()).cast_mut();
        let topics = c::rd_kafka_conf_get_default_topic_conf(config);
        let mut dumps = vec![(c::rd_kafka_conf_dump(config, &mut of_client), of_client)];
        if !topics.is_null() {
            dumps.push((c::rd_kafka_topic_conf_dump(topics, &mut of_topics), of_topics));
        }
        let mut all = BTreeMap::new();
        for (dump, count) in dumps {
            all.extend(list(dump, count).chunks_exact(2).map(|pair| (text(pair[0]), text(pair[1]))));
            c::rd_kafka_conf_dump_free(dump, count);
        }
        all
    }
}
