//! The keys below `nats.` that are not those of a pool.

use super::{BYTES, COUNT, DURATION, Row};

const TEXT: &str = "text";
const SECRET: &str = "text, never shown";
const FILE: &str = "path of a PEM file";

pub(super) const NATS: &[Row] = &[
    ("client_name", TEXT, "buslane", "Name of this client in the server's figures."),
    (
        "connect_timeout",
        DURATION,
        "10s",
        "How long establishing a connection may take; 10 ms to 24 h.",
    ),
    (
        "request_timeout",
        DURATION,
        "5s",
        "How long a request to the server may take; 10 ms to 24 h.",
    ),
    ("ping_interval", DURATION, "20s", "How often the connection is proven alive; 10 ms to 24 h."),
    (
        "ephemeral",
        "list of topic names",
        "[]",
        "Topics of core NATS: nothing is stored, and only who listens gets a message.",
    ),
    (
        "consumer.start",
        "`earliest` or `latest`",
        "earliest",
        "Where a durable consumer begins that is new.",
    ),
    (
        "consumer.ack_wait",
        DURATION,
        "30s",
        "Silence after which the server delivers a message again; what waits or runs is kept alive each third of it; 100 ms to 24 h.",
    ),
    (
        "consumer.max_deliver",
        COUNT,
        "",
        "How often the server delivers a message; at least 1, and more than `backoff` has entries. An envelope's last delivery has one attempt, then the terminal policy; where that is `block`, the envelope ends with the process. Without it there is no end: the bus counts attempts.",
    ),
    (
        "consumer.backoff",
        "list of durations",
        "[]",
        "Waits before the server's own redeliveries, in place of `ack_wait`; each 100 ms to 24 h.",
    ),
    (
        "consumer.max_ack_pending",
        COUNT,
        "100000",
        "Open messages of one durable consumer, over all its readers; nine tenths must be more than the pools may park; 1 to 10000000.",
    ),
    (
        "consumer.replicas",
        COUNT,
        "",
        "Copies of a consumer's state; 1 to 5. Without it as many as the stream has.",
    ),
    (
        "consumer.memory_storage",
        "`true` or `false`",
        "false",
        "Whether a consumer's state lives in memory.",
    ),
    (
        "consumer.prefetch",
        COUNT,
        "1000",
        "Messages that are fetched ahead of each source; 1 to 50000.",
    ),
    (
        "consumer.expires",
        DURATION,
        "30s",
        "How long a request for messages stands at the server; 1 s to 24 h.",
    ),
    (
        "consumer.heartbeat",
        DURATION,
        "5s",
        "How often the server says that a request stands; 100 ms to half of `expires`.",
    ),
    (
        "consumer.drain_deadline",
        DURATION,
        "10s",
        "How long open messages of a partition that moves are awaited; up to 24 h.",
    ),
    (
        "consumer.lease",
        DURATION,
        "10s",
        "Silence after which other members take the partitions of one; 300 ms to 24 h.",
    ),
    (
        "publisher.max_in_flight",
        COUNT,
        "4000",
        "Records that wait for their acknowledgement, then publishers wait; 1 to 50000.",
    ),
    (
        "publisher.duplicate_window",
        DURATION,
        "2m",
        "How long the server knows the event ids of a stream that is created; 100 ms to 24 h.",
    ),
    (
        "stream.create",
        "`true` or `false`",
        "true",
        "Whether a stream is created for a topic that none covers.",
    ),
    (
        "stream.partitions",
        "integer, `auto` or `shared`",
        "auto",
        "Partitions of a stream that is created, each of which one member of a group reads at a time. `auto`: 8 for envelopes, none for regular messages. A number, 1 to 1024: so many, and envelopes of a topic whose stream has another number are refused. `shared`: none, and members share a topic that has none: **a key's order across processes is given up**.",
    ),
    ("stream.replication", COUNT, "", "Its copies; 1 to 5. Without it one."),
    (
        "stream.retention",
        DURATION,
        "",
        "How long it keeps messages; at least 100 ms. Without it for ever.",
    ),
    (
        "stream.retention_bytes",
        BYTES,
        "",
        "How many bytes it keeps; at least 1. Without it no limit.",
    ),
    (
        "stream.storage",
        "`file` or `memory`",
        "",
        "Where it keeps messages. Without it files for envelopes and memory for regular messages.",
    ),
    ("security.tls.ca_file", FILE, "", "Authorities that are trusted beside those of the system."),
    (
        "security.tls.certificate_file",
        FILE,
        "",
        "The client's certificate, for servers that ask for one.",
    ),
    ("security.tls.key_file", FILE, "", "The key of that certificate."),
    ("security.login.user", TEXT, "", "The user."),
    ("security.login.password", SECRET, "", "The password of that user."),
    ("security.login.token", SECRET, "", "A token."),
    ("security.login.nkey_seed", SECRET, "", "The seed of an nkey; it never leaves this process."),
    (
        "security.login.credentials_file",
        "path of a file",
        "",
        "A file with a JWT and the seed of its nkey.",
    ),
];

pub(super) const NOTES: &str = "
`nats://` needs the cargo feature `nats`, and a server of 2.9 or later with JetStream; partitions and leases need 2.10:
with an older one `auto` is `shared`, and a line of the log warns. Servers, the first part of the durable consumers' names and the publish timeout are `url`, `group` and `publish_timeout`.

The URL may hold a login (`nats://USER:PASSWORD@HOST` or `nats://TOKEN@HOST`), or `security.login` has one, in one of its
four ways. `security.tls` encrypts as soon as the key is there, even when it is empty (`tls: {}`).

A partition belongs to one member of a group at a time, and so does each key. A topic of envelopes without partitions (its
stream was there before) belongs to one member as a whole; [operations.md](operations.md#partitions-on-nats)
has how it gets some. A topic of regular messages without partitions is shared by the members of the group.
";
