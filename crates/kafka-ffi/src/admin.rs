//! One call of administration: its options, its queue and its answer, each freed once.

use crate::batch::millis;
pub(crate) use rdkafka::bindings as c;
pub(crate) use rdkafka::client::{Client, ClientContext};
pub(crate) use rdkafka::error::RDKafkaErrorCode as Code;
use std::ffi::{CStr, CString, c_char};
use std::ptr::{self, NonNull};
pub(crate) use std::time::Duration;

/// librdkafka answers within the time of a request; this is for what keeps it from doing so.
const GRACE: Duration = Duration::from_secs(5);

/// A call that is being made.
pub(crate) struct Call<'a> {
    /// The client it is made with.
    pub(crate) client: *mut c::rd_kafka_t,
    pub(crate) options: *mut c::rd_kafka_AdminOptions_t,
    pub(crate) queue: *mut c::rd_kafka_queue_t,
    within: Duration,
    borrow: std::marker::PhantomData<&'a ()>,
}

impl<'a> Call<'a> {
    pub(crate) fn new<C: ClientContext>(
        client: &'a Client<C>,
        call: c::rd_kafka_admin_op_t,
        within: Duration,
    ) -> Call<'a> {
        let client = client.native_ptr();
        // SAFETY: the client lives as long as `'a`; both values are new and freed by `drop`. A time that is refused
        // leaves the default.
        unsafe {
            let options = c::rd_kafka_AdminOptions_new(client, call);
            c::rd_kafka_AdminOptions_set_request_timeout(options, millis(within), ptr::null_mut(), 0);
            let queue = c::rd_kafka_queue_new(client);
            Call { client, options, queue, within, borrow: std::marker::PhantomData }
        }
    }

    /// The answer, which must have been asked for with this call's queue.
    pub(crate) fn wait(&self) -> Result<Answer<'_>, Code> {
        // SAFETY: the queue is ours; what it gives is owned by the answer.
        let event = unsafe { c::rd_kafka_queue_poll(self.queue, millis(self.within + GRACE)) };
        let event = NonNull::new(event).ok_or(Code::OperationTimedOut)?;
        let answer = Answer { event, borrow: std::marker::PhantomData };
        // SAFETY: the event is alive.
        outcome(unsafe { c::rd_kafka_event_error(event.as_ptr()) }).map(|()| answer)
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `new`, freed once. An answer that comes later finds no queue and is dropped by librdkafka.
        unsafe {
            c::rd_kafka_AdminOptions_destroy(self.options);
            c::rd_kafka_queue_destroy(self.queue);
        }
    }
}

/// The answer to a call: everything that was read from it points into it.
pub(crate) struct Answer<'a> {
    event: NonNull<c::rd_kafka_event_t>,
    borrow: std::marker::PhantomData<&'a ()>,
}

impl Answer<'_> {
    /// What it lists.
    ///
    /// # Safety
    /// `of` and `items` are the calls of librdkafka for its kind of answer.
    pub(crate) unsafe fn list<R, T>(
        &self,
        of: unsafe extern "C" fn(*mut c::rd_kafka_event_t) -> *const R,
        items: unsafe extern "C" fn(*const R, *mut usize) -> *mut *const T,
    ) -> Result<&[*const T], Code> {
        let mut count = 0;
        // SAFETY: the event is alive, and what is listed lives as long; an event of another kind gives null.
        unsafe {
            let result = of(self.event.as_ptr());
            if result.is_null() { Err(Code::BadMessage) } else { Ok(list(items(result, &mut count), count)) }
        }
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        // SAFETY: owned by this value, destroyed once.
        unsafe { c::rd_kafka_event_destroy(self.event.as_ptr()) };
    }
}

/// # Safety
/// `error` is null or alive.
pub(crate) unsafe fn check(error: *const c::rd_kafka_error_t) -> Result<(), Code> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: it is alive.
    outcome(unsafe { c::rd_kafka_error_code(error) })
}

pub(crate) fn outcome(code: c::rd_kafka_resp_err_t) -> Result<(), Code> {
    match code {
        c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(code.into()),
    }
}

/// # Safety
/// `error` is null or ours: it is freed.
pub(crate) unsafe fn check_own(error: *mut c::rd_kafka_error_t) -> Result<(), Code> {
    // SAFETY: as promised by the caller; it is read before it goes.
    unsafe {
        let outcome = check(error);
        if !error.is_null() {
            c::rd_kafka_error_destroy(error);
        }
        outcome
    }
}

/// # Safety
/// `text` is null or a string.
pub(crate) unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as promised by the caller.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// # Safety
/// `items` points to `count` values of its kind that live for `'a`; null is none.
pub(crate) unsafe fn list<'a, T>(items: *const T, count: usize) -> &'a [T] {
    if items.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: as promised by the caller.
    unsafe { std::slice::from_raw_parts(items, count) }
}

/// Texts for C, and pointers to them; one with a zero byte in it is no name of anything.
pub(crate) fn c_texts(texts: &[&str]) -> Result<(Vec<CString>, Vec<*const c_char>), Code> {
    let own = texts.iter().map(|&text| CString::new(text)).collect::<Result<Vec<_>, _>>();
    let own = own.map_err(|_| Code::InvalidArgument)?;
    let pointers = own.iter().map(|text| text.as_ptr()).collect();
    Ok((own, pointers))
}
