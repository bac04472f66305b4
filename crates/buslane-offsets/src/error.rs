//! Why metadata cannot be read. It does not say what to do about it: see [`decode`](super::decode).

/// Metadata that says nothing to us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// Neither base64 nor, after a `%`, Z85.
    #[error("commit metadata is not base64, or not Z85 after a `%`")]
    Text,
    /// Metadata of Kafka Streams: the group belongs, or belonged, to another kind of application.
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
    /// A number in it makes no sense: a negative length, or an open offset outside of the map.
    #[error("commit metadata is malformed")]
    Malformed,
    /// The compressed part is damaged, or larger than a map of that span can be.
    #[error("the compressed part of the commit metadata is damaged or too large")]
    Compressed,
    /// It reaches over more offsets than allowed.
    #[error("commit metadata reaches over {span} offsets or more, allowed are {limit}")]
    TooLong {
        /// How far it reaches, as far as it was read.
        span: u64,
        /// How far it may reach.
        limit: u64,
    },
}
