//! Checks the settings, and turns them into properties of librdkafka.

use super::{
    Assignment, Compression, Isolation, KafkaConfig, Mechanism, OffsetReset, Partitioner, Security,
};
use crate::error::KafkaConfigError;
use buslane_settings::{
    BrokenRule, Value,
    duration::{self, hours, show},
};
use rdkafka::{ClientConfig, config::RDKafkaLogLevel, error::KafkaError};
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

impl From<KafkaError> for KafkaConfigError {
    /// Why a client was not created. The error omits the value, which may be a password.
    fn from(error: KafkaError) -> Self {
        match error {
            KafkaError::ClientConfig(_, reason, property, _) => match instead_of(&property) {
                Some(setting) => Self::Value { setting, reason },
                None => Self::Client { reason },
            },
            KafkaError::ClientCreation(reason) => Self::Client { reason },
            other => Self::Client { reason: other.to_string() },
        }
    }
}

/// The setting that a property belongs to.
fn instead_of(property: &str) -> Option<&'static str> {
    CONTROLLED.iter().find(|(name, _)| *name == property).map(|(_, instead)| *instead)
}

fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}

impl KafkaConfig {
    /// Checks every rule, and that the files exist and librdkafka accepts the properties. Does not
    /// connect.
    ///
    /// ```
    /// use buslane_kafka::KafkaConfig;
    ///
    /// let config = KafkaConfig { brokers: "localhost".to_owned(), ..KafkaConfig::default() };
    /// let error = config.validate().expect_err("the port is missing");
    /// assert!(error.to_string().contains("must be host:port"));
    /// ```
    ///
    /// # Errors
    /// The first rule that a setting breaks.
    pub fn validate(&self) -> Result<(), KafkaConfigError> {
        Value::validate(self, "")?;
        let publish_timeout = self.producer.publish_timeout;
        for (name, text) in [("brokers", &self.brokers), ("group", &self.group)] {
            if text.trim().is_empty() {
                return rule(name, "must not be blank", format!("{text:?}"));
            }
        }
        for broker in self.brokers.split(',') {
            let port =
                broker.rsplit_once(':').map(|(host, port)| (host.is_empty(), port.parse::<u16>()));
            if !matches!(port, Some((false, Ok(1..)))) {
                let found = format!("{broker:?}");
                return rule("brokers", "must be host:port, separated by commas", found);
            }
        }
        if !(duration::millis(1)..=hours(24)).contains(&publish_timeout) {
            let found = show(publish_timeout);
            return rule("producer.publish_timeout", "must be from 1 ms to 24 h", found);
        }
        if let Some(tls) = &self.security.tls {
            let files = [
                ("security.tls.ca_file", &tls.ca_file),
                ("security.tls.certificate_file", &tls.certificate_file),
                ("security.tls.key_file", &tls.key_file),
            ];
            for (setting, file) in files {
                // librdkafka's own error names neither the file nor the reason.
                if let Some(file) = file
                    && let Err(error) = std::fs::metadata(file)
                {
                    return rule(setting, "must name a file", format!("{file}: {error}"));
                }
            }
        }
        for (property, value) in &self.properties {
            if let Some(instead) = instead_of(property) {
                return Err(KafkaConfigError::Controlled { property: property.clone(), instead });
            }
            let mut alone = ClientConfig::new();
            if let Err(error) = alone.set(property, value.expose()).create_native_config() {
                return Err(KafkaConfigError::Property {
                    property: property.clone(),
                    value: value.expose().to_owned(),
                    reason: error.to_string(),
                });
            }
        }
        for client in [self.consumer(), self.producer()] {
            client.create_native_config()?;
        }
        Ok(())
    }

    /// The properties of every client of this configuration.
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
            // Requests are often small: a handler's receipt must not wait for the peer's delayed
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

    /// The properties of the group member.
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
            // librdkafka requires `fetch.max.bytes` to be at least this property, whose default
            // would apply otherwise.
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
            // The default of a second starves a consumer that is slower than its brokers.
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

    /// The properties of the producer.
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

fn rule(name: &str, rule: &str, found: String) -> Result<(), KafkaConfigError> {
    Ok(BrokenRule::because(name, rule, found)?)
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
