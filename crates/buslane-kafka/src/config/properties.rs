//! From fields to the properties of librdkafka.

use super::{
    Assignment, Compression, Isolation, KafkaConfig, Mechanism, OffsetReset, Partitioner, Security,
};
use rdkafka::{ClientConfig, config::RDKafkaLogLevel};
use std::time::Duration;

/// Properties that the bus sets or relies on, each with the field to use instead.
pub(super) const CONTROLLED: [(&str, &str); 59] = [
    ("bootstrap.servers", "brokers"),
    ("metadata.broker.list", "brokers"),
    ("client.id", "client_id"),
    ("group.id", "group"),
    ("group.protocol", "consumer.assignment"),
    ("group.remote.assignor", "consumer.assignment"),
    ("partition.assignment.strategy", "consumer.assignment"),
    ("group.instance.id", "consumer.instance_id"),
    ("session.timeout.ms", "consumer.session_timeout"),
    ("heartbeat.interval.ms", "consumer.heartbeat_interval"),
    ("max.poll.interval.ms", "consumer.max_poll_interval"),
    ("auto.offset.reset", "consumer.offset_reset"),
    ("isolation.level", "consumer.isolation"),
    ("fetch.min.bytes", "consumer.fetch_min_bytes"),
    ("fetch.wait.max.ms", "consumer.fetch_max_wait"),
    ("fetch.max.bytes", "consumer.fetch_max_bytes"),
    ("fetch.message.max.bytes", "consumer.fetch_partition_bytes"),
    ("max.partition.fetch.bytes", "consumer.fetch_partition_bytes"),
    ("queued.min.messages", "consumer.prefetch_messages"),
    ("queued.max.messages.kbytes", "consumer.prefetch_kib"),
    ("auto.commit.interval.ms", "consumer.commit_interval"),
    ("enable.auto.commit", "nothing: the bus commits what is settled"),
    ("auto.commit.enable", "nothing: the bus commits what is settled"),
    ("enable.auto.offset.store", "nothing: the bus commits what is settled"),
    ("enable.partition.eof", "nothing: the bus does not use it"),
    ("acks", "nothing: all in-sync replicas acknowledge"),
    ("request.required.acks", "nothing: all in-sync replicas acknowledge"),
    ("enable.idempotence", "nothing: the producer is idempotent"),
    ("transactional.id", "nothing: the bus has no transactions"),
    ("max.in.flight", "nothing: the idempotent producer decides"),
    ("max.in.flight.requests.per.connection", "nothing: the idempotent producer decides"),
    ("compression.codec", "producer.compression"),
    ("compression.type", "producer.compression"),
    ("partitioner", "producer.partitioner"),
    ("linger.ms", "producer.linger"),
    ("queue.buffering.max.ms", "producer.linger"),
    ("batch.size", "producer.batch_bytes"),
    ("message.max.bytes", "producer.max_message_bytes"),
    ("queue.buffering.max.messages", "producer.queue_messages"),
    ("queue.buffering.max.kbytes", "producer.queue_kib"),
    ("retries", "producer.retries"),
    ("message.send.max.retries", "producer.retries"),
    ("message.timeout.ms", "producer.publish_timeout"),
    ("delivery.timeout.ms", "producer.publish_timeout"),
    ("security.protocol", "security"),
    ("sasl.username", "security.login"),
    ("sasl.password", "security.login"),
    ("sasl.mechanism", "security.login"),
    ("sasl.mechanisms", "security.login"),
    ("sasl.oauthbearer.config", "security.login"),
    ("sasl.oauthbearer.method", "security.login"),
    ("enable.sasl.oauthbearer.unsecure.jwt", "security.login"),
    ("ssl.ca.location", "security.tls.ca_file"),
    ("ssl.certificate.location", "security.tls.certificate_file"),
    ("ssl.key.location", "security.tls.key_file"),
    ("ssl.key.password", "security.tls.key_password"),
    ("socket.connection.setup.timeout.ms", "connect_timeout"),
    ("socket.timeout.ms", "request_timeout"),
    ("socket.nagle.disable", "nothing: the bus sends small requests at once"),
];

fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}

impl KafkaConfig {
    /// What every client of this configuration has.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        for (name, value) in &self.properties {
            client.set(name, value.expose());
        }
        client
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", &self.client_id)
            .set("socket.connection.setup.timeout.ms", millis(self.connect_timeout))
            .set("socket.timeout.ms", millis(self.request_timeout))
            // Small requests are the rule: a handler's receipt must not wait for the peer's delayed
            // acknowledgement.
            .set("socket.nagle.disable", "true");
        self.security.set(&mut client);
        // The binding takes its level from the crate `log`, which may be off while `tracing` is on.
        let tells_all = self.properties.contains_key("debug");
        client.set_log_level(if tells_all {
            RDKafkaLogLevel::Debug
        } else {
            RDKafkaLogLevel::Info
        });
        client
    }

    /// The group member.
    pub(crate) fn consumer(&self) -> ClientConfig {
        let mut client = self.client();
        let consumer = &self.consumer;
        client
            .set("group.id", &self.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("max.poll.interval.ms", millis(consumer.max_poll_interval))
            .set("fetch.min.bytes", consumer.fetch_min_bytes.to_string())
            .set("fetch.wait.max.ms", millis(consumer.fetch_max_wait))
            // librdkafka wants an answer to have room for a message, and takes this one's default
            // otherwise.
            .set("message.max.bytes", self.producer.max_message_bytes.to_string())
            .set(
                "fetch.max.bytes",
                consumer.fetch_max_bytes.max(self.producer.max_message_bytes).to_string(),
            )
            .set("max.partition.fetch.bytes", consumer.fetch_partition_bytes.to_string())
            .set("queued.min.messages", consumer.prefetch_messages.to_string())
            .set("queued.max.messages.kbytes", consumer.prefetch_kib.to_string())
            .set(
                "auto.offset.reset",
                match consumer.offset_reset {
                    OffsetReset::Earliest => "earliest",
                    OffsetReset::Latest => "latest",
                },
            )
            .set(
                "isolation.level",
                match consumer.isolation {
                    Isolation::ReadCommitted => "read_committed",
                    Isolation::ReadUncommitted => "read_uncommitted",
                },
            );
        if !self.properties.contains_key("fetch.queue.backoff.ms") {
            // The default of a second lets a consumer that is slower than its brokers run dry.
            client.set("fetch.queue.backoff.ms", "5");
        }
        if !self.properties.contains_key("topic.metadata.refresh.interval.ms") {
            // New partitions are read after this time; the default is five minutes.
            client.set("topic.metadata.refresh.interval.ms", "10000");
        }
        if let Some(instance) = &consumer.instance_id {
            client.set("group.instance.id", instance);
        }
        let strategy = match consumer.assignment {
            Assignment::CooperativeSticky => "cooperative-sticky",
            Assignment::Range => "range",
            Assignment::RoundRobin => "roundrobin",
            Assignment::Broker => {
                client.set("group.protocol", "consumer");
                return client;
            }
        };
        client
            .set("partition.assignment.strategy", strategy)
            .set("session.timeout.ms", millis(consumer.session_timeout))
            .set("heartbeat.interval.ms", millis(consumer.heartbeat_interval));
        client
    }

    /// The producer.
    pub(crate) fn producer(&self) -> ClientConfig {
        let mut client = self.client();
        let producer = &self.producer;
        client
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", millis(producer.linger))
            .set("batch.size", producer.batch_bytes.to_string())
            .set("message.max.bytes", producer.max_message_bytes.to_string())
            .set("queue.buffering.max.messages", producer.queue_messages.to_string())
            .set("queue.buffering.max.kbytes", producer.queue_kib.to_string())
            .set("retries", producer.retries.to_string())
            .set("message.timeout.ms", millis(producer.publish_timeout))
            .set(
                "compression.codec",
                match producer.compression {
                    Compression::None => "none",
                    Compression::Gzip => "gzip",
                    Compression::Snappy => "snappy",
                    Compression::Lz4 => "lz4",
                    Compression::Zstd => "zstd",
                },
            )
            .set(
                "partitioner",
                match producer.partitioner {
                    Partitioner::Fnv1a => "fnv1a_random",
                    Partitioner::Murmur2 => "murmur2_random",
                },
            );
        client
    }
}

impl Security {
    fn set(&self, client: &mut ClientConfig) {
        let protocol = match (&self.tls, &self.login) {
            (None, None) => return,
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        client.set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            let files = [
                ("ssl.ca.location", &tls.ca_file),
                ("ssl.certificate.location", &tls.certificate_file),
                ("ssl.key.location", &tls.key_file),
            ];
            for (name, file) in files {
                if let Some(file) = file {
                    client.set(name, file);
                }
            }
            if let Some(password) = &tls.key_password {
                client.set("ssl.key.password", password.expose());
            }
        }
        let Some(login) = &self.login else { return };
        let mechanism = match login.mechanism {
            Some(Mechanism::ScramSha256) => "SCRAM-SHA-256",
            Some(Mechanism::ScramSha512) => "SCRAM-SHA-512",
            Some(Mechanism::OAuthBearer) => "OAUTHBEARER",
            Some(Mechanism::Plain) | None => "PLAIN",
        };
        client.set("sasl.mechanism", mechanism);
        if let (Some(user), Some(password)) = (&login.user, &login.password) {
            client.set("sasl.username", user).set("sasl.password", password.expose());
        }
    }
}
