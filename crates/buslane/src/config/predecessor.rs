//! Keys of the predecessor, and what to use instead. A key that is known here is refused with its
//! replacement.

/// The last part of the key, and the replacement.
const KEYS: [(&str, &str); 7] = [
    ("required_acks", "is not a setting: every publish waits for all in-sync replicas"),
    ("flush_frequency", "is kafka.producer.linger now"),
    ("flush_messages", "is kafka.producer.batch_bytes now, a number of bytes"),
    ("retry_max", "is kafka.producer.retries now"),
    ("buffer_size", "is kafka.producer.queue_messages and kafka.consumer.prefetch_messages now"),
    // There too it was the wait for room, not the time that a handler has.
    ("max_processing_time", "is wait_timeout of kafka.keyed_pool and kafka.actor_pool now"),
    (
        "net",
        "is kafka.connect_timeout (dial_timeout) and kafka.request_timeout (read_timeout, write_timeout) now",
    ),
];

/// What an unknown key was replaced by, when the predecessor had it.
pub(super) fn replacement(key: &str) -> Option<&'static str> {
    let key = key.strip_prefix("kafka.")?;
    let last =
        key.strip_prefix("consumer.").or_else(|| key.strip_prefix("producer.")).unwrap_or(key);
    let last = last.split('.').next()?;
    KEYS.iter().find(|(old, _)| *old == last).map(|(_, instead)| *instead)
}
