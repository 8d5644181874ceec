//! Messages of the assigned partitions, many at a time, from a queue of our own. The one place that speaks to librdkafka
//! itself: its Rust client takes one message at a time, with an event, a counter and two looks at the clock for each.
//!
//! What must hold: nothing here outlives the consumer; a message is given back once.

#![expect(unsafe_code, reason = "librdkafka's batches have no safe interface")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::slice;
use std::time::Duration;

use connector_api::{Error, Result};
use rdkafka::bindings as native;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{IsError as _, KafkaError};

use crate::consumer::Consumer;

/// Where messages of partitions wait that were [forwarded](Queue::forward) to it.
pub(crate) struct Queue {
    queue: NonNull<native::rd_kafka_queue_t>,
    consumer: Consumer,
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for Queue {}

impl Queue {
    /// A queue of a consumer.
    ///
    /// # Errors
    /// `Fatal` without memory.
    pub(crate) fn new(consumer: &Consumer) -> Result<Self> {
        // SAFETY: the client lives as long as the consumer, which is kept beside the queue.
        let queue = unsafe { native::rd_kafka_queue_new(consumer.inner().client().native_ptr()) };
        let queue = NonNull::new(queue).ok_or_else(|| Error::fatal("a queue for messages cannot be made"))?;
        Ok(Self { queue, consumer: consumer.clone() })
    }

    /// Has the messages of a partition come here, after those that wait in its own queue. To be called before the
    /// partition is assigned, else its first ones go to the consumer's queue; and again while it is: librdkafka undoes it
    /// some time after the partition was given back, even if it was assigned again meanwhile.
    ///
    /// # Errors
    /// `Fatal` for a topic that cannot be one.
    pub(crate) fn forward(&self, topic: &str, partition: i32) -> Result<()> {
        let refused = || Error::fatal("a partition cannot be read").with("topic", topic).with("partition", partition);
        let name = CString::new(topic).map_err(|e| refused().caused_by(e))?;
        let client = self.consumer.inner().client().native_ptr();
        // SAFETY: the client and our queue live; the partition's queue is ours to destroy, and stays forwarded.
        unsafe {
            let queue = native::rd_kafka_queue_get_partition(client, name.as_ptr(), partition);
            if queue.is_null() {
                return Err(refused());
            }
            native::rd_kafka_queue_forward(queue, self.queue.as_ptr());
            native::rd_kafka_queue_destroy(queue);
        }
        Ok(())
    }

    /// Takes what is there, at most so many messages; waits for the first of them so long.
    pub(crate) fn fetch(&self, most: usize, wait: Duration) -> Fetched {
        let mut messages = self.take(most, 0);
        if messages.is_empty() && !wait.is_zero() {
            // It would wait for all of them.
            messages = self.take(1, i32::try_from(wait.as_millis()).unwrap_or(i32::MAX));
        }
        Fetched { messages: messages.into_iter(), _consumer: self.consumer.clone() }
    }

    /// Where a partition ended when messages of it were last received, as far as is known here.
    pub(crate) fn end(&self, topic: &str, partition: i32) -> Option<i64> {
        let topic = CString::new(topic).ok()?;
        let (client, mut low, mut high) = (self.consumer.inner().client().native_ptr(), 0, 0);
        // SAFETY: the client lives; librdkafka copies what it knows to the two numbers.
        let known = unsafe {
            native::rd_kafka_get_watermark_offsets(client, topic.as_ptr(), partition, &raw mut low, &raw mut high)
        };
        (!known.is_error() && high >= 0).then_some(high)
    }

    fn take(&self, most: usize, wait_ms: i32) -> Vec<*mut native::rd_kafka_message_t> {
        let mut messages = vec![ptr::null_mut(); most];
        // SAFETY: the queue lives, and there is room for so many pointers.
        let count = unsafe {
            native::rd_kafka_consume_batch_queue(self.queue.as_ptr(), wait_ms, messages.as_mut_ptr(), messages.len())
        };
        // Fails only for a queue that is not a consumer's.
        messages.truncate(usize::try_from(count).unwrap_or(0));
        messages
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: it is ours, and used nowhere else any more.
        unsafe { native::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// Messages that were taken from a queue; those that are not asked for are given back with it.
pub(crate) struct Fetched {
    messages: std::vec::IntoIter<*mut native::rd_kafka_message_t>,
    _consumer: Consumer,
}

impl Fetched {
    /// Whether there are none left.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.as_slice().is_empty()
    }

    /// The next message, or what went wrong with a partition.
    pub(crate) fn next(&mut self) -> Option<Result<Record<'_>, KafkaError>> {
        let record = Record { message: NonNull::new(self.messages.next()?)?, _of: PhantomData };
        let code = record.fields().err;
        Some(if code.is_error() { Err(KafkaError::MessageConsumption(code.into())) } else { Ok(record) })
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        for message in self.messages.by_ref() {
            // SAFETY: librdkafka gave it, and no record was made of it.
            unsafe { native::rd_kafka_message_destroy(message) }
        }
    }
}

/// A message.
pub(crate) struct Record<'a> {
    message: NonNull<native::rd_kafka_message_t>,
    _of: PhantomData<&'a Fetched>,
}

impl Record<'_> {
    fn fields(&self) -> &native::rd_kafka_message_t {
        // SAFETY: librdkafka gave it, and it lives until the record is dropped.
        unsafe { self.message.as_ref() }
    }

    /// Bytes of the message.
    fn bytes(&self, at: *const c_void, length: usize) -> Option<&[u8]> {
        // SAFETY: librdkafka gives a null, or so many bytes that live as long as the message.
        (!at.is_null()).then(|| unsafe { slice::from_raw_parts(at.cast(), length) })
    }

    /// A text of the message. Topics are ASCII; a header whose name is none has none here.
    fn text(&self, at: *const c_char) -> &str {
        // SAFETY: librdkafka gives a C string that lives as long as the message.
        unsafe { CStr::from_ptr(at) }.to_str().unwrap_or_default()
    }

    /// The name of its topic.
    pub(crate) fn topic(&self) -> &str {
        self.text(self.topic_name())
    }

    /// Whether its topic is this one. Asked for every message, so the name is not made a text first.
    pub(crate) fn is_of(&self, topic: &str) -> bool {
        // SAFETY: librdkafka gives a C string that lives as long as the message.
        unsafe { CStr::from_ptr(self.topic_name()) }.to_bytes() == topic.as_bytes()
    }

    fn topic_name(&self) -> *const c_char {
        // SAFETY: a message that was consumed has a topic.
        unsafe { native::rd_kafka_topic_name(self.fields().rkt) }
    }

    pub(crate) fn partition(&self) -> i32 {
        self.fields().partition
    }

    pub(crate) fn offset(&self) -> i64 {
        self.fields().offset
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.bytes(self.fields().key, self.fields().key_len)
    }

    pub(crate) fn value(&self) -> Option<&[u8]> {
        self.bytes(self.fields().payload, self.fields().len)
    }

    /// Milliseconds since 1970, if it has a timestamp.
    pub(crate) fn timestamp(&self) -> Option<i64> {
        let none = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        let mut kind = none;
        // SAFETY: the message lives.
        let at = unsafe { native::rd_kafka_message_timestamp(self.message.as_ptr(), &raw mut kind) };
        (kind != none).then_some(at)
    }

    /// Its headers, in their order.
    pub(crate) fn headers(&self) -> Vec<(&str, Option<&[u8]>)> {
        let (mut headers, mut found) = (ptr::null_mut(), Vec::new());
        // SAFETY: the message lives.
        if unsafe { native::rd_kafka_message_headers(self.message.as_ptr(), &raw mut headers) }.is_error() {
            return found;
        }
        loop {
            let (at, mut name, mut value, mut size) = (found.len(), ptr::null(), ptr::null(), 0);
            // SAFETY: the headers live as long as the message.
            let got =
                unsafe { native::rd_kafka_header_get_all(headers, at, &raw mut name, &raw mut value, &raw mut size) };
            if got.is_error() {
                return found;
            }
            found.push((self.text(name), self.bytes(value, size)));
        }
    }

    /// The bytes of the first header of that name that has some.
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers().into_iter().find_map(|(of, value)| value.filter(|_| of == name))
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        // SAFETY: nothing of it is borrowed any more.
        unsafe { native::rd_kafka_message_destroy(self.message.as_ptr()) }
    }
}
