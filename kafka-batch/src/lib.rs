//! Records of a Kafka consumer, many at a time: the one crate with unsafe code.
//!
//! The client library gives out one record at a time; each costs an event, three looks at the clock and several locks, a fifth of all CPU time of
//! a topic that is read ([decision 18](../../docs/decisions/0018-records-by-the-batch.md)). librdkafka has a call for many, which the library lacks. It
//! is made here, and nothing else: connections, assignments and events stay the library's.
//!
//! Partitions whose records are wanted are [forwarded](Records::forward) to a queue of their own, so that the consumer's own queue, which is still
//! to be polled, has events only: statistics, errors, logs.
//!
//! Imports no other crate of the workspace; only `connectors` imports it.

use std::ffi::{CStr, CString, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as librdkafka;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::types::RDKafkaRespErr;

/// Records of a batch, at most: some hundred microseconds of work, and what a call costs is nothing beside it.
const MOST: usize = 256;

/// A queue of the records of some partitions of a consumer.
pub struct Records<C: ConsumerContext + 'static> {
    queue: NonNull<librdkafka::rd_kafka_queue_t>,
    /// Outlives the queue, and the records of a batch, which borrow from this.
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka's queues may be used from any thread, and from several at once.
unsafe impl<C: ConsumerContext + 'static> Send for Records<C> {}
// SAFETY: as above.
unsafe impl<C: ConsumerContext + 'static> Sync for Records<C> {}

impl<C: ConsumerContext + 'static> Records<C> {
    /// A queue without partitions.
    pub fn new(consumer: Arc<BaseConsumer<C>>) -> Self {
        // SAFETY: the consumer lives, and the queue is destroyed before it.
        let queue = unsafe { librdkafka::rd_kafka_queue_new(consumer.client().native_ptr()) };
        let queue = NonNull::new(queue).expect("librdkafka ends the process when it is out of memory");
        Self { queue, consumer }
    }

    /// Records of this partition come here from now on, also those that wait already. To be called before the partition is assigned; when it
    /// was taken away and is assigned again, it is to be called until records come, because librdkafka forgets it some time after the former.
    ///
    /// Returns whether there can be such a partition.
    pub fn forward(&self, topic: &str, partition: i32) -> bool {
        let Ok(topic) = CString::new(topic) else { return false };
        // SAFETY: the consumer lives, and the topic is a C string; the reference to the partition's queue is given back.
        unsafe {
            let client = self.consumer.client().native_ptr();
            let from = librdkafka::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition);
            if from.is_null() {
                return false;
            }
            librdkafka::rd_kafka_queue_forward(from, self.queue.as_ptr());
            librdkafka::rd_kafka_queue_destroy(from);
        }
        true
    }

    /// The records that are there, at most some hundred; the first of them is waited for.
    pub fn poll(&self, wait: Duration) -> Batch<'_> {
        let mut messages = vec![ptr::null_mut(); MOST];
        let mut count = self.take(Duration::ZERO, &mut messages);
        if count == 0 && !wait.is_zero() {
            // Of many it would wait for all.
            count = self.take(wait, &mut messages[..1]);
            count += self.take(Duration::ZERO, &mut messages[count..]);
        }
        messages.truncate(count);
        Batch { rest: messages.into_iter(), records: PhantomData }
    }

    /// Takes as many records as there is room for, waiting until there are so many; says how many there were.
    fn take(&self, wait: Duration, room: &mut [*mut librdkafka::rd_kafka_message_t]) -> usize {
        let wait = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the queue lives, and there is room for so many pointers.
        let count = unsafe {
            librdkafka::rd_kafka_consume_batch_queue(self.queue.as_ptr(), wait, room.as_mut_ptr(), room.len())
        };
        usize::try_from(count).unwrap_or(0).min(room.len())
    }
}

impl<C: ConsumerContext + 'static> Drop for Records<C> {
    fn drop(&mut self) {
        // SAFETY: it was made with the queue, and nobody else has it.
        unsafe { librdkafka::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// Records, in the order in which they are to be taken; those that aren't are gone.
pub struct Batch<'a> {
    rest: std::vec::IntoIter<*mut librdkafka::rd_kafka_message_t>,
    records: PhantomData<&'a ()>,
}

impl<'a> Iterator for Batch<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        self.rest.next().and_then(NonNull::new).map(|message| Record { message, records: PhantomData })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rest.size_hint()
    }
}

impl ExactSizeIterator for Batch<'_> {}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

/// A record, or an error in the place of one.
pub struct Record<'a> {
    message: NonNull<librdkafka::rd_kafka_message_t>,
    records: PhantomData<&'a ()>,
}

impl Record<'_> {
    fn message(&self) -> &librdkafka::rd_kafka_message_t {
        // SAFETY: it is this record's until it is dropped, and nobody writes to it.
        unsafe { self.message.as_ref() }
    }

    /// What came in the place of a record: the end of its partition, say.
    pub fn error(&self) -> Option<RDKafkaErrorCode> {
        let error = self.message().err;
        (error != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| error.into())
    }

    /// The error in librdkafka's words.
    pub fn reason(&self) -> String {
        // SAFETY: the text is the message's, or a constant; it is copied.
        let text = unsafe {
            let text = librdkafka::rd_kafka_message_errstr(self.message.as_ptr());
            (!text.is_null()).then(|| CStr::from_ptr(text))
        };
        text.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Of the topic.
    pub fn partition(&self) -> i32 {
        self.message().partition
    }

    /// Its place in the partition.
    pub fn offset(&self) -> i64 {
        self.message().offset
    }

    /// `None` is a tombstone.
    pub fn payload(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: so many bytes of the message, which lives as long as this.
        unsafe { bytes(message.payload, message.len) }
    }

    /// Its key, if it has one.
    pub fn key(&self) -> Option<&[u8]> {
        let message = self.message();
        // SAFETY: as of the payload.
        unsafe { bytes(message.key, message.key_len) }
    }

    /// When it was made or appended, milliseconds since 1970.
    pub fn timestamp_ms(&self) -> Option<i64> {
        let mut kind = librdkafka::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives, and so does the place for the answer.
        let timestamp = unsafe { librdkafka::rd_kafka_message_timestamp(self.message.as_ptr(), &mut kind) };
        let known = kind != librdkafka::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        (known && timestamp != -1).then_some(timestamp)
    }

    /// Its headers, copied.
    pub fn headers(&self) -> Vec<(String, Option<Vec<u8>>)> {
        const FOUND: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;
        let mut headers = Vec::new();
        let mut all = ptr::null_mut();
        // SAFETY: the headers are the message's, which lives; names are C strings, values so many bytes, and both are copied.
        unsafe {
            if librdkafka::rd_kafka_message_headers(self.message.as_ptr(), &mut all) != FOUND {
                return headers;
            }
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            while librdkafka::rd_kafka_header_get_all(all, headers.len(), &mut name, &mut value, &mut size) == FOUND {
                let name = CStr::from_ptr(name).to_string_lossy().into_owned();
                headers.push((name, bytes(value.cast_mut(), size).map(<[u8]>::to_vec)));
            }
        }
        headers
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        // SAFETY: nobody else has it, and its consumer lives.
        unsafe { librdkafka::rd_kafka_message_destroy(self.message.as_ptr()) };
    }
}

/// Bytes of librdkafka's; there are none behind a null pointer.
///
/// # Safety
/// There must be so many bytes that live, and that nobody writes to, for as long as the caller says.
unsafe fn bytes<'a>(start: *mut c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller says.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) })
}
