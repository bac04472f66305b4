//! Settings of a topic in Kafka's terms: names, checks, and differences.

use buslane_core::{BrokerError, Topic, TopicCompression, TopicSettings};
use std::time::Duration;

pub(super) const RETENTION: &str = "retention.ms";
pub(super) const RETENTION_BYTES: &str = "retention.bytes";
pub(super) const COMPRESSION: &str = "compression.type";

const COMPRESSIONS: [(TopicCompression, &str); 6] = [
    (TopicCompression::Producer, "producer"),
    (TopicCompression::None, "uncompressed"),
    (TopicCompression::Gzip, "gzip"),
    (TopicCompression::Snappy, "snappy"),
    (TopicCompression::Lz4, "lz4"),
    (TopicCompression::Zstd, "zstd"),
];

/// The name of a compression in Kafka.
pub(super) fn compression_name(compression: TopicCompression) -> &'static str {
    COMPRESSIONS
        .iter()
        .find(|(known, _)| *known == compression)
        .map_or("producer", |(_, name)| name)
}

/// The compression with this name in Kafka.
pub(super) fn compression(name: &str) -> Option<TopicCompression> {
    COMPRESSIONS.iter().find(|(_, known)| *known == name).map(|(compression, _)| *compression)
}

/// Checks that Kafka can apply these settings.
pub(super) fn check(topic: &Topic, settings: &TopicSettings) -> Result<(), BrokerError> {
    let zero = [
        ("partitions", settings.partitions == Some(0)),
        ("replication", settings.replication == Some(0)),
    ];
    for (setting, is_zero) in zero {
        if is_zero {
            let rule = "must be at least 1, found 0".to_owned();
            return Err(BrokerError::Setting { topic: topic.clone(), setting, rule });
        }
    }
    if settings.storage.is_some() {
        let rule = "must be left out: Kafka stores every topic in files".to_owned();
        return Err(BrokerError::Setting { topic: topic.clone(), setting: "storage", rule });
    }
    Ok(())
}

/// Checks that the settings equal the wanted ones. The error names each difference.
pub(super) fn validate(
    topic: &Topic,
    wanted: &TopicSettings,
    present: &TopicSettings,
) -> Result<(), BrokerError> {
    let mut differences = Vec::new();
    let mut first = None;
    let mut compare = |setting: &'static str, wanted: Option<String>, present: Option<String>| {
        if let Some(wanted) = wanted
            && Some(&wanted) != present.as_ref()
        {
            first.get_or_insert(setting);
            differences.push(format!(
                "{setting} is {}, wanted {wanted}",
                present.unwrap_or_else(|| "not set".to_owned())
            ));
        }
    };
    let text = |time: Option<Duration>| time.map(|time| format!("{time:?}"));
    compare(
        "partitions",
        wanted.partitions.map(|n| n.to_string()),
        present.partitions.map(|n| n.to_string()),
    );
    compare(
        "replication",
        wanted.replication.map(|n| n.to_string()),
        present.replication.map(|n| n.to_string()),
    );
    compare("retention", text(wanted.retention), text(present.retention));
    compare(
        "retention_bytes",
        wanted.retention_bytes.map(|n| n.to_string()),
        present.retention_bytes.map(|n| n.to_string()),
    );
    let name = |compression: Option<_>| {
        compression.map(|compression| compression_name(compression).to_owned())
    };
    compare("compression", name(wanted.compression), name(present.compression));
    match first {
        None => Ok(()),
        Some(setting) => Err(BrokerError::Setting {
            topic: topic.clone(),
            setting,
            rule: differences.join("; "),
        }),
    }
}
