//! The ids of topics, which tell a topic from one of the same name that was made anew: asked of the broker through
//! librdkafka's own functions, since the client library does not offer them.
//!
//! What must hold: every object that librdkafka gives is given back. The only unsafe code of this crate.

#![expect(unsafe_code, reason = "librdkafka's DescribeTopics has no safe binding")]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::os::raw::c_char;
use std::time::Duration;

use connector_api::{Error, Result};
use rdkafka::bindings as k;
use rdkafka::types::RDKafka;

/// What Kafka gives for a topic without an id: such were made before Kafka 2.8.
const NONE: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// The ids of topics by their names, in Kafka's base 64. A topic without an id goes by its name.
///
/// # Errors
/// `Retriable` when the broker does not say.
pub(crate) fn ids(client: *mut RDKafka, names: &[&str], timeout: Duration) -> Result<BTreeMap<String, String>> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names: Vec<CString> = names.iter().filter_map(|name| CString::new(*name).ok()).collect();
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let unheard = |why: &str| Error::retriable("the broker does not tell the ids of topics").with("reason", why);
    let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the pointers live until the end of the function; each object is destroyed by its guard, in the reverse
    // order of its making; what is borrowed from the event is copied before that.
    unsafe {
        let collection = k::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let _collection = Guard(collection, k::rd_kafka_TopicCollection_destroy);
        let queue = k::rd_kafka_queue_new(client);
        let _queue = Guard(queue, k::rd_kafka_queue_destroy);
        k::rd_kafka_DescribeTopics(client, collection, std::ptr::null(), queue);
        let event = k::rd_kafka_queue_poll(queue, timeout);
        if event.is_null() {
            return Err(unheard("no answer in time"));
        }
        let _event = Guard(event, k::rd_kafka_event_destroy);
        if k::rd_kafka_event_error(event) != k::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(unheard(&text(k::rd_kafka_event_error_string(event))));
        }
        let result = k::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err(unheard("another answer"));
        }
        let mut count = 0;
        let topics = k::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let mut ids = BTreeMap::new();
        for topic in (0..count).map(|n| *topics.add(n)) {
            let error = k::rd_kafka_TopicDescription_error(topic);
            if k::rd_kafka_error_code(error) != k::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                continue;
            }
            let name = text(k::rd_kafka_TopicDescription_name(topic));
            let id = text(k::rd_kafka_Uuid_base64str(k::rd_kafka_TopicDescription_topic_id(topic)));
            let id = if id == NONE || id.is_empty() { name.clone() } else { id };
            ids.insert(name, id);
        }
        Ok(ids)
    }
}

/// Gives an object back.
struct Guard<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        // SAFETY: made by librdkafka, owned by this guard alone, and destroyed once.
        unsafe { (self.1)(self.0) }
    }
}

/// # Safety
/// The pointer is null or a C string.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}
