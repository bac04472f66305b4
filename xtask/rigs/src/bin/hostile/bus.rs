//! The bus under attack: its handlers record the position of each message, and nothing else.

use super::audit::{Audit, End};
use super::input::{Dice, PARTITIONS, POLICIES, Policy, Topics};
use buslane::{
    BusError, Config, Event, EventBus, Message, TopicSettings, TopicStrategy, broker::header,
};
use std::{
    fmt::Debug,
    future::ready,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tracing::{Level, Subscriber, field::Field};
use tracing_subscriber::{
    filter::Targets,
    layer::{Context, Layer},
    prelude::*,
};

/// Time that a bus may take to close, beyond its own deadline.
const LEAVING: Duration = Duration::from_secs(120);

/// How long a handler may take.
const WORK: Duration = Duration::from_millis(50);

pub(crate) struct Consumer {
    bus: EventBus,
    url: String,
    topics: Arc<Topics>,
    audit: Arc<Audit>,
    pub(crate) restarts: u64,
}

impl Consumer {
    pub(crate) async fn start(
        url: &str,
        topics: &Arc<Topics>,
        audit: &Arc<Audit>,
    ) -> Result<Self, String> {
        let bus = connect(url, &topics.group, false).await?;
        Ok(Self {
            bus,
            url: url.to_owned(),
            topics: Arc::clone(topics),
            audit: Arc::clone(audit),
            restarts: 0,
        })
    }

    pub(crate) async fn create_topics(&self) -> Result<(), String> {
        let settings = TopicSettings { partitions: Some(PARTITIONS), ..TopicSettings::default() };
        for topic in self.topics.names.iter().chain([&self.topics.letters]) {
            let created =
                self.bus.configure_topic(topic, &settings, TopicStrategy::CreateOnly).await;
            created.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    pub(crate) async fn subscribe(&self) -> Result<(), String> {
        self.try_subscribe().await.map_err(|error| format!("subscribing: {error}"))
    }

    async fn try_subscribe(&self) -> Result<(), BusError> {
        let Self { bus, topics, audit, .. } = self;
        bus.topics().announce(topics.names.iter().chain([&topics.letters])).await?;
        let (places, pages) = (Arc::clone(topics), Arc::clone(audit));
        let on_letter = move |letter: Message| {
            if let Some(position) = origin(&places, &letter) {
                pages.ended(position, End::DeadLetter, Some(&letter.payload));
            }
            ready(())
        };
        bus.subscribe(&topics.letters, on_letter).await?;
        for (topic, name) in topics.names.iter().enumerate() {
            let subscription = bus.subscription(name);
            let (of_events, of_messages) = (Arc::clone(audit), Arc::clone(audit));
            let on_event = move |event: Event| handle(Arc::clone(&of_events), topic, event.message);
            match POLICIES[topic] {
                Policy::DeadLetter => {
                    subscription.dead_letter(&topics.letters).envelopes(on_event).await?
                }
                Policy::Skip => subscription.skip_failed().envelopes(on_event).await?,
                Policy::Regular => {
                    let on_message =
                        move |message: Message| handle(Arc::clone(&of_messages), topic, message);
                    subscription.messages(on_message).await?
                }
            };
        }
        Ok(())
    }

    /// A bus ends, in haste or not, and another takes over with the other pool.
    pub(crate) async fn restart(&mut self, dice: &mut Dice) -> Result<(), String> {
        let deadline = Duration::from_millis(dice.one_of(&[0, 50, 10_000]));
        shutdown(&self.bus, deadline).await?;
        self.restarts += 1;
        self.bus = connect(&self.url, &self.topics.group, !self.restarts.is_multiple_of(2)).await?;
        self.subscribe().await
    }

    pub(crate) async fn end(self, deadline: Duration) -> Result<(), String> {
        shutdown(&self.bus, deadline).await
    }
}

/// Takes a while now and then, so that a bus that ends in haste leaves something to its successor.
async fn handle(audit: Arc<Audit>, topic: usize, message: Message) {
    if message.offset.is_multiple_of(8) {
        tokio::time::sleep(WORK).await;
    }
    audit.ended((topic, message.partition(), message.offset), End::Handled, Some(&message.payload));
}

async fn connect(url: &str, group: &str, use_actors: bool) -> Result<EventBus, String> {
    let mut config = Config::new(url).map_err(|error| error.to_string())?;
    group.clone_into(&mut config.group);
    config.kafka.actor_pool.enabled = use_actors;
    config.nats.actor_pool.enabled = use_actors;
    EventBus::connect(config).await.map_err(|error| format!("connecting: {error}"))
}

async fn shutdown(bus: &EventBus, deadline: Duration) -> Result<(), String> {
    match tokio::time::timeout(deadline + LEAVING, bus.shutdown(deadline)).await {
        Ok(report) => report.map(drop).map_err(|error| format!("the shutdown: {error}")),
        Err(_) => Err(format!(
            "the shutdown with a deadline of {deadline:?} did not end within {LEAVING:?} more"
        )),
    }
}

/// Where the message of a dead letter stood: its newest origin stands behind those that a hostile
/// message brings along.
fn origin(topics: &Topics, letter: &Message) -> Option<(usize, u32, u64)> {
    let newest = |name: &str| {
        let found = letter.headers.iter().filter(|(found, _)| *found == name).last();
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    };
    let topic = topics.place(newest(header::ORIGINAL_TOPIC)?)?;
    let partition = newest(header::ORIGINAL_PARTITION)?.parse().ok()?;
    Some((topic, partition, newest(header::ORIGINAL_OFFSET)?.parse().ok()?))
}

/// Nanoseconds since the Unix epoch.
pub(crate) fn now_ns() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos()
}

/// Reads from the log which messages were skipped, and shows the log where that is wanted.
pub(crate) fn install_log(audit: &Arc<Audit>, is_shown: bool) {
    let level = if is_shown {
        tracing::level_filters::LevelFilter::INFO
    } else {
        tracing::level_filters::LevelFilter::OFF
    };
    let shown = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_filter(Targets::new().with_default(level));
    let skips = Skips { audit: Arc::clone(audit) }
        .with_filter(Targets::new().with_target("buslane", Level::WARN));
    tracing_subscriber::registry().with(shown).with(skips).init();
}

/// The lines of skipped envelopes.
struct Skips {
    audit: Arc<Audit>,
}

/// The fields of such a line.
#[derive(Default)]
struct Line {
    text: String,
    topic: String,
    partition: Option<u32>,
    offset: Option<u64>,
}

impl<S: Subscriber> Layer<S> for Skips {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        // A topic is named for its policy, so that no other process's lines are needed to tell them
        // apart.
        let is_skip = line.text.contains("skipped") && line.topic.starts_with("hostile-skipped-");
        if let (true, Some(partition), Some(offset)) = (is_skip, line.partition, line.offset)
            && let Some(topic) = POLICIES.iter().position(|policy| *policy == Policy::Skip)
        {
            self.audit.ended((topic, partition, offset), End::Skipped, None);
        }
    }
}

impl tracing::field::Visit for Line {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "partition" => self.partition = u32::try_from(value).ok(),
            "offset" => self.offset = Some(value),
            _ => {}
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "topic" => value.clone_into(&mut self.topic),
            "message" => value.clone_into(&mut self.text),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if matches!(field.name(), "topic" | "message") {
            self.record_str(field, format!("{value:?}").trim_matches('"'));
        }
    }
}
