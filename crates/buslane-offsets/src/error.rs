//! Why commit metadata cannot be read.

/// Why [`decode`](crate::codec::decode) rejects metadata.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// Neither base64 nor, after a `%`, Z85.
    #[error("commit metadata is not base64, or not Z85 after a `%`")]
    Text,
    /// Metadata of Kafka Streams: a Streams application uses, or used, the group.
    #[error("commit metadata of Kafka Streams, version {version}")]
    KafkaStreams {
        /// The version byte: 1 or 2.
        version: u8,
    },
    /// The first byte names no format.
    #[error("commit metadata has an unknown format, byte {format:#04x}")]
    UnknownFormat {
        /// The first byte.
        format: u8,
    },
    /// It ends too early.
    #[error("commit metadata is truncated")]
    Truncated,
    /// A number is invalid: a negative length, or an open offset outside the map.
    #[error("commit metadata is malformed")]
    Malformed,
    /// The compressed part is damaged, or larger than a map of that span can be.
    #[error("the compressed part of the commit metadata is damaged or too large")]
    Compressed,
    /// It spans more offsets than allowed.
    #[error("commit metadata spans at least {span} offsets, and at most {limit} are allowed")]
    TooLong {
        /// The span, as far as it was read.
        span: u64,
        /// The largest span allowed.
        limit: u64,
    },
}
