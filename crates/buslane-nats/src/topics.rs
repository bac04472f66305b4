//! Topics and their streams: look-up, creation, and a cache.
//!
//! Any stream that covers a topic's subject is used, also one that another program created.
//! Publishers need no request for a known topic.

mod log;
mod settings;

use crate::{
    NatsConfig, Partitions,
    error::{is_temporary, setting_of},
    link::{self, Link},
    names, stored,
};
use arc_swap::ArcSwap;
use async_nats::jetstream::{
    ErrorCode,
    response::Response,
    stream::{Config, Info, LastRawMessageErrorKind, StorageType},
};
use buslane_core::{BrokerError, Layered, PerKey, Topic, TopicSettings, TopicStorage};
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Mutex;

pub(crate) struct Topics {
    link: Arc<Link>,
    create_missing: Option<TopicSettings>,
    partitions: Partitions,
    /// Topics whose partitions were set by a call that overrides the configuration.
    configured: RwLock<HashSet<Topic>>,
    duplicate_window: Duration,
    ephemeral: RwLock<HashSet<Topic>>,
    /// A snapshot, which publishers read without a lock.
    known: ArcSwap<Layered<Topic, Known>>,
    /// Serialises the look-ups and creations of one topic, so that a later caller finds the stream
    /// of an earlier one.
    single_flight: PerKey<Topic, Mutex<()>>,
    has_told_of_a_single_copy: AtomicBool,
}

/// The stream and the subjects of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    /// The stream; `None` for an ephemeral topic.
    pub(crate) stream: Option<Arc<str>>,
    /// The subject, or the subjects of the partitions.
    pub(crate) subjects: Arc<[async_nats::Subject]>,
    /// The number of partitions, if the topic has any.
    pub(crate) partitions: Option<u32>,
    /// Whether the stream is in memory, and is lost with the server's process.
    pub(crate) in_memory: bool,
}

impl Known {
    fn ephemeral(topic: &Topic) -> Self {
        Self {
            stream: None,
            subjects: [names::subject(topic, None).into()].into(),
            partitions: None,
            in_memory: false,
        }
    }

    fn stored(topic: &Topic, found: &FoundStream) -> Self {
        let (partitions, config) = (found.partitions, &found.info.config);
        let subjects = match partitions {
            Some(count) => {
                (0..count).map(|partition| names::subject(topic, Some(partition)).into()).collect()
            }
            None => [names::subject(topic, None).into()].into(),
        };
        let in_memory = config.storage == StorageType::Memory;
        Self { stream: Some(config.name.as_str().into()), subjects, partitions, in_memory }
    }
}

/// A stream that covers a topic.
pub(super) struct FoundStream {
    pub(super) info: Info,
    pub(super) partitions: Option<u32>,
}

#[derive(Serialize)]
struct Filter<'a> {
    subject: &'a str,
}

#[derive(Deserialize)]
struct Names {
    #[serde(default)]
    streams: Option<Vec<String>>,
}

impl Topics {
    pub(crate) fn new(link: Arc<Link>, config: &NatsConfig) -> Self {
        Self {
            link,
            create_missing: config.stream.of_missing(),
            partitions: config.stream.partitions,
            configured: RwLock::default(),
            duplicate_window: config.publisher.duplicate_window,
            ephemeral: RwLock::new(
                config.ephemeral.iter().filter_map(|name| Topic::new(name).ok()).collect(),
            ),
            known: ArcSwap::default(),
            single_flight: PerKey::default(),
            has_told_of_a_single_copy: AtomicBool::new(false),
        }
    }

    /// The cached stream and subjects of a topic.
    pub(crate) fn known(&self, topic: &Topic) -> Option<Known> {
        self.known.load().get(topic).cloned()
    }

    fn remember(&self, topic: &Topic, known: &Known) {
        self.known.rcu(|all| {
            let mut next = Layered::clone(all);
            next.insert(topic.clone(), known.clone());
            next
        });
    }

    /// Removes a topic from the cache.
    pub(crate) fn forget(&self, topic: &Topic) {
        self.known.rcu(|all| {
            let mut next = Layered::clone(all);
            next.remove(topic);
            next
        });
    }

    pub(crate) fn is_ephemeral(&self, topic: &Topic) -> bool {
        self.ephemeral.read().contains(topic)
    }

    /// Finds the stream of a topic, or creates one if the configuration allows. `storage` applies
    /// to a new stream without configured storage: files are for envelopes.
    ///
    /// # Errors
    /// When the topic is not a valid subject, no stream exists and none may be created, the
    /// partitions differ from the configured ones, or the server refuses.
    pub(crate) async fn ensure(
        &self,
        topic: &Topic,
        storage: TopicStorage,
    ) -> Result<Known, BrokerError> {
        names::check(topic)?;
        let own = self.single_flight.get(topic);
        let _one = own.lock().await;
        if let Some(known) = self.known(topic) {
            return self.check_partitions(topic, &known, storage).map(|()| known);
        }
        let known = if self.is_ephemeral(topic) {
            Known::ephemeral(topic)
        } else {
            let found = match (self.find(topic).await?, &self.create_missing) {
                (Some(found), _) => found,
                (None, Some(settings)) => {
                    let partitions = self.partitions_of_new(storage);
                    let storage = settings.storage.or(Some(storage));
                    let settings = TopicSettings { storage, partitions, ..settings.clone() };
                    match self.create(topic, &settings).await {
                        Ok(found) => found,
                        // Another member may have been faster, with other settings.
                        Err(error) => self.find(topic).await?.ok_or(error)?,
                    }
                }
                (None, None) => return Err(BrokerError::UnknownTopic { topic: topic.clone() }),
            };
            if storage == TopicStorage::File {
                self.tell_of_a_single_copy(&found.info.config);
            }
            Known::stored(topic, &found)
        };
        self.check_partitions(topic, &known, storage)?;
        self.remember(topic, &known);
        Ok(known)
    }

    /// Warns once of a stream of envelopes without a second copy. The server writes to disk every
    /// `sync_interval`, two minutes by default, so a power failure takes what it acknowledged
    /// since. Clients cannot see that interval.
    fn tell_of_a_single_copy(&self, stream: &Config) {
        if stream.num_replicas <= 1
            && stream.storage == StorageType::File
            && !self.has_told_of_a_single_copy.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                stream = stream.name,
                "a power failure of the server may lose acknowledged messages: one replica"
            );
        }
    }

    /// Ensures that the stream of a topic exists, and returns its last sequence.
    ///
    /// # Errors
    /// As [`Topics::ensure`].
    pub(crate) async fn restore(&self, topic: &Topic) -> Result<u64, BrokerError> {
        self.forget(topic);
        self.ensure(topic, TopicStorage::File).await?;
        Ok(self.find(topic).await?.map_or(0, |found| found.info.state.last_sequence))
    }

    /// Looks up the stream of a topic, and updates the cache. `None` when no stream covers the
    /// topic.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn refresh(&self, topic: &Topic) -> Result<Option<Known>, BrokerError> {
        let Some(found) = self.find(topic).await? else { return Ok(None) };
        let known = Known::stored(topic, &found);
        if self.known(topic).is_some_and(|before| before != known) {
            self.remember(topic, &known);
        }
        Ok(Some(known))
    }

    /// The sequence of the last message from before the topic had partitions; 0 when there is none.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(crate) async fn last_without_partition(
        &self,
        topic: &Topic,
        stream: &str,
    ) -> Result<u64, BrokerError> {
        let unreachable = |reason: String| BrokerError::Unreachable { reason };
        let subject = stored::subject(stream);
        let stream = self.link.jetstream().get_stream_no_info(stream).await;
        let stream = stream.map_err(|error| unreachable(error.to_string()))?;
        match stream.get_last_raw_message_by_subject(topic).await {
            Ok(message) => Ok(message.sequence),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(0),
            Err(error) => Err(unreachable(self.link.explain(&subject, &error))),
        }
    }

    /// The partitions of a new stream without configured ones.
    fn partitions_of_new(&self, storage: TopicStorage) -> Option<u32> {
        match self.partitions {
            Partitions::Exactly(count) => Some(count),
            // Consumers of an older server have only one subject.
            Partitions::Auto
                if storage == TopicStorage::File
                    && self.link.version >= link::NEEDED_FOR_PARTITIONS =>
            {
                Some(Partitions::DEFAULT)
            }
            Partitions::Auto | Partitions::Shared => None,
        }
    }

    /// Refuses a stream of envelopes whose partitions differ from the configured ones, because its
    /// keys are not spread as the user expects. Regular messages have no order across members, so a
    /// warning suffices for them.
    fn check_partitions(
        &self,
        topic: &Topic,
        known: &Known,
        storage: TopicStorage,
    ) -> Result<(), BrokerError> {
        let (Partitions::Exactly(wanted), Some(stream)) = (self.partitions, &known.stream) else {
            return Ok(());
        };
        if known.partitions == Some(wanted) || self.configured.read().contains(topic) {
            return Ok(());
        }
        let present = known.partitions.map_or_else(|| "none".to_owned(), |count| count.to_string());
        let rule = format!(
            "nats.stream.partitions is {wanted} and not in force: stream {stream} has {present}; give it {wanted} with \
             configure_topic and `expand`, or set nats.stream.partitions to what it has, or to auto"
        );
        if storage == TopicStorage::File {
            return Err(self.refused(topic, "partitions", rule));
        }
        tracing::warn!(topic = topic.as_str(), rule, "partitions not as configured");
        Ok(())
    }

    /// The stream whose subjects cover the topic, or its first partition.
    pub(super) async fn find(&self, topic: &Topic) -> Result<Option<FoundStream>, BrokerError> {
        for subject in [names::subject(topic, None), names::subject(topic, Some(0))] {
            let names: Names = self
                .ask(topic, "STREAM.NAMES", &Filter { subject: &subject })
                .await?
                .unwrap_or(Names { streams: None });
            for name in names.streams.unwrap_or_default() {
                let info: Option<Info> =
                    self.ask(topic, &format!("STREAM.INFO.{name}"), &()).await?;
                if let Some(info) = info
                    && let Some(partitions) = names::partitions(topic, &info.config.subjects)
                {
                    return Ok(Some(FoundStream { info, partitions }));
                }
            }
        }
        Ok(None)
    }

    /// Creates the stream of a topic.
    pub(super) async fn create(
        &self,
        topic: &Topic,
        settings: &TopicSettings,
    ) -> Result<FoundStream, BrokerError> {
        self.check(topic, settings)?;
        let config = Config {
            name: names::stream(topic),
            subjects: names::subjects(topic, settings.partitions),
            storage: storage_type(settings.storage.unwrap_or(TopicStorage::File)),
            num_replicas: settings.replication.map_or(1, usize::from),
            max_age: settings.retention.unwrap_or_default(),
            max_bytes: settings
                .retention_bytes
                .map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            max_messages: -1,
            max_messages_per_subject: -1,
            max_message_size: -1,
            max_consumers: -1,
            duplicate_window: match settings.retention {
                Some(age) if !age.is_zero() => self.duplicate_window.min(age),
                _ => self.duplicate_window,
            },
            ..Config::default()
        };
        let subject = format!("STREAM.CREATE.{}", config.name);
        let info: Option<Info> = self.ask(topic, &subject, &config).await?;
        let info = info.ok_or_else(|| {
            self.refused(topic, "stream", "the server has not answered".to_owned())
        })?;
        tracing::info!(topic = topic.as_str(), stream = info.config.name, "stream created");
        Ok(FoundStream { info, partitions: settings.partitions })
    }

    /// Sends a request to JetStream. `None` when the stream does not exist.
    pub(super) async fn ask<Q: Serialize, A: serde::de::DeserializeOwned>(
        &self,
        topic: &Topic,
        subject: &str,
        question: &Q,
    ) -> Result<Option<A>, BrokerError> {
        match self.link.jetstream().request::<_, _, Response<A>>(subject.to_owned(), question).await
        {
            Ok(Response::Ok(answer)) => Ok(Some(answer)),
            Ok(Response::Err { error }) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                Ok(None)
            }
            Ok(Response::Err { error }) if is_temporary(&error) => {
                Err(BrokerError::Unreachable { reason: error.to_string() })
            }
            Ok(Response::Err { error }) => {
                Err(self.refused(topic, setting_of(&error, "stream"), error.to_string()))
            }
            Err(error) => {
                let reason = self.link.explain(&format!("$JS.API.{subject}"), &error);
                Err(BrokerError::Unreachable { reason })
            }
        }
    }

    /// Refuses impossible settings without a request to the server.
    pub(super) fn check(&self, topic: &Topic, settings: &TopicSettings) -> Result<(), BrokerError> {
        names::check(topic)?;
        let most = names::MOST_PARTITIONS;
        if let Some(count) = settings.partitions {
            if !(1..=most).contains(&count) {
                return Err(self.refused(
                    topic,
                    "partitions",
                    format!("must be 1 to {most}, found {count}"),
                ));
            }
            if self.link.version < link::NEEDED_FOR_PARTITIONS {
                let (needed, present) = (link::NEEDED_FOR_PARTITIONS, self.link.version);
                let rule = format!("need nats-server {needed} or later; this one is {present}");
                return Err(self.refused(topic, "partitions", rule));
            }
        }
        if settings.replication == Some(0) {
            return Err(self.refused(
                topic,
                "replication",
                "must be at least 1, found 0".to_owned(),
            ));
        }
        if settings.compression.is_some() {
            let rule = "must be left out: the server's own setting compresses a stream".to_owned();
            return Err(self.refused(topic, "compression", rule));
        }
        if settings.retention == Some(Duration::ZERO) || settings.retention_bytes == Some(0) {
            return Err(self.refused(topic, "retention", "must be more than 0".to_owned()));
        }
        if settings.storage == Some(TopicStorage::Nowhere) && settings.partitions.is_some() {
            return Err(self.refused(
                topic,
                "storage",
                "nothing is stored, so there are no partitions".to_owned(),
            ));
        }
        Ok(())
    }

    pub(super) fn refused(
        &self,
        topic: &Topic,
        setting: &'static str,
        rule: String,
    ) -> BrokerError {
        BrokerError::Setting { topic: topic.clone(), setting, rule }
    }
}

const fn storage_type(storage: TopicStorage) -> StorageType {
    match storage {
        TopicStorage::File | TopicStorage::Nowhere => StorageType::File,
        TopicStorage::Memory => StorageType::Memory,
    }
}
