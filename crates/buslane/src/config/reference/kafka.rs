//! The keys below `kafka.` that are not those of a pool.

use super::{BYTES, COUNT, DURATION, Row};

const TEXT: &str = "text";
const SECRET: &str = "text, never shown";
const FILE: &str = "path of a PEM file";

pub(super) const KAFKA: &[Row] = &[
    ("client_id", TEXT, "buslane", "Name of this client in the brokers' logs and quotas."),
    (
        "connect_timeout",
        DURATION,
        "10s",
        "How long establishing a connection may take; 1 s to 24 h.",
    ),
    (
        "request_timeout",
        DURATION,
        "30s",
        "How long a request may take that has no time of its own; 10 ms to 5 min.",
    ),
    (
        "properties",
        "table of texts, never shown",
        "{}",
        "Properties of librdkafka that have no key here, by their own names, in TOML in quotes; one that the bus controls is refused. What `debug` asks for is logged at level debug.",
    ),
    (
        "create_missing.partitions",
        COUNT,
        "",
        "Partitions of a topic that is created because it is missing; at least 1.",
    ),
    ("create_missing.replication", COUNT, "", "Copies of each of its partitions; 1 to 32767."),
    ("create_missing.retention", DURATION, "", "How long its messages are kept; at least 1 ms."),
    (
        "create_missing.retention_bytes",
        BYTES,
        "",
        "How many bytes each of its partitions keeps; at least 1.",
    ),
    (
        "create_missing.compression",
        "`producer`, `none`, `gzip`, `snappy`, `lz4` or `zstd`",
        "",
        "How its records are stored; `producer` leaves them as they were sent.",
    ),
    (
        "consumer.offset_reset",
        "`earliest` or `latest`",
        "earliest",
        "Where a group begins that has committed nothing yet.",
    ),
    (
        "consumer.assignment",
        "`cooperative_sticky`, `range`, `round_robin` or `broker`",
        "cooperative_sticky",
        "How the members of a group share its partitions. With `range` and `round_robin` every rebalance stops all members; `broker` is the protocol of Kafka 4.0 in which the brokers decide; a member whose last subscription has ended stays in its group there, without a partition.",
    ),
    (
        "consumer.instance_id",
        TEXT,
        "",
        "A name that stays over restarts: the process that comes back with it takes the partitions of the one that was killed at once, but with `assignment: broker`. Each process of a group needs its own: of two with the same, the older one ends.",
    ),
    (
        "consumer.session_timeout",
        DURATION,
        "10s",
        "Silence after which the group takes the member for dead: so long nothing of a killed process is handled. Up to 1 h and to `max_poll_interval`; the brokers' own with `assignment: broker`.",
    ),
    (
        "consumer.heartbeat_interval",
        DURATION,
        "3s",
        "Time between two signs of life; at most a third of `session_timeout`; the brokers' own with `assignment: broker`.",
    ),
    (
        "consumer.max_poll_interval",
        DURATION,
        "5m",
        "How long the polling thread may be busy before the group takes the member for stuck; up to 24 h. Handlers do not count.",
    ),
    (
        "consumer.isolation",
        "`read_committed` or `read_uncommitted`",
        "read_committed",
        "Which records of transactions are read.",
    ),
    (
        "consumer.fetch_min_bytes",
        BYTES,
        "1",
        "What a broker collects before it answers, unless `fetch_max_wait` passes; 1 to 100000000.",
    ),
    (
        "consumer.fetch_max_wait",
        DURATION,
        "50ms",
        "How long a broker waits until it has that much; up to 5 min. A busy partition beside idle ones may wait as long.",
    ),
    (
        "consumer.fetch_max_bytes",
        BYTES,
        "52428800",
        "One answer, at least `producer.max_message_bytes`; 1000000 to 2147483135.",
    ),
    (
        "consumer.fetch_partition_bytes",
        BYTES,
        "1048576",
        "One partition in an answer; 1 to 1000000000.",
    ),
    (
        "consumer.prefetch_messages",
        COUNT,
        "2000",
        "Messages that are fetched ahead of each partition; 1 to 10000000.",
    ),
    (
        "consumer.prefetch_kib",
        "integer, KiB",
        "16384",
        "What is fetched ahead of each partition; 1 to 2097151.",
    ),
    (
        "consumer.drain_deadline",
        DURATION,
        "10s",
        "How long started messages of a revoked partition are awaited; less than `max_poll_interval`.",
    ),
    ("consumer.commit_interval", DURATION, "1s", "Time between two commits; 1 ms to 24 h."),
    (
        "consumer.commit_every",
        COUNT,
        "10000",
        "Settled messages after which a commit is made sooner; at least 1.",
    ),
    (
        "consumer.metadata_limit",
        "integer, characters",
        "4096",
        "Metadata that a commit carries, the brokers' `offset.metadata.max.bytes`; 0 for none.",
    ),
    (
        "producer.compression",
        "`none`, `gzip`, `snappy`, `lz4` or `zstd`",
        "none",
        "How batches of records are compressed.",
    ),
    (
        "producer.partitioner",
        "`fnv1a` or `murmur2`",
        "fnv1a",
        "Which partition a key goes to: as Go producers choose, or as Java producers do.",
    ),
    (
        "producer.linger",
        DURATION,
        "0s",
        "How long a record waits for others to share its batch; up to 15 min, less than `publish_timeout`.",
    ),
    ("producer.batch_bytes", BYTES, "1000000", "One batch; 1 to 2147483647."),
    (
        "producer.max_message_bytes",
        BYTES,
        "1000000",
        "The largest record, as the brokers have it; 1000 to 1000000000.",
    ),
    (
        "producer.queue_messages",
        COUNT,
        "100000",
        "Records that wait for the brokers, then publishers wait; 1 to 2147483647.",
    ),
    (
        "producer.queue_kib",
        "integer, KiB",
        "262144",
        "What waits for the brokers, then publishers wait; 1 to 2147483647.",
    ),
    (
        "producer.retries",
        COUNT,
        "2147483647",
        "How often a batch is sent again before `publish_timeout` ends it; 1 to 2147483647.",
    ),
    (
        "security.tls.ca_file",
        FILE,
        "",
        "The authorities that are trusted; without it those of the system.",
    ),
    (
        "security.tls.certificate_file",
        FILE,
        "",
        "The client's certificate, for brokers that ask for one.",
    ),
    ("security.tls.key_file", FILE, "", "The key of that certificate."),
    ("security.tls.key_password", SECRET, "", "What the key is encrypted with."),
    (
        "security.login.mechanism",
        "`plain`, `scram_sha_256`, `scram_sha_512` or `oauthbearer`",
        "",
        "How the user proves who it is; required with `login`. `plain` and `oauthbearer` are safe over TLS alone.",
    ),
    ("security.login.user", TEXT, "", "The user; needed but for `oauthbearer`."),
    ("security.login.password", SECRET, "", "The password; needed but for `oauthbearer`."),
    (
        "security.login.token_file",
        FILE,
        "",
        "A JSON Web Token, needed for `oauthbearer`; read again when four fifths of its time are over.",
    ),
];

pub(super) const NOTES: &str = "
`kafka://` needs the cargo feature `kafka`; `security.tls` and the SCRAM and OAUTHBEARER logins need `kafka-tls`. Brokers,
consumer group and publish timeout are `url`, `group` and `publish_timeout`. Every publish waits for all in-sync replicas, and the
producer is idempotent; neither can be changed. Times are whole milliseconds.

The URL takes no user and no password: they are `security.login`. `security.tls` encrypts as soon as the key is there,
even when it is empty (`tls: {}`). Without `create_missing` a missing topic is an error; with it, also when it is empty,
the topic is created, and what is left out is the brokers' default.

The predecessor's keys are refused with the name of their replacement.
";
