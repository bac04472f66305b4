//! Publishes at a rate, in a thread of its own, past the bus.

use crate::{
    dice::Dice,
    input::{self, Input, Topics},
    kafka::Kafka,
    nats::Nats,
    options::Options,
};
use buslane::Backend;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// A client that is not ours.
pub(crate) enum Client {
    Kafka(Kafka),
    Nats(Nats),
}

impl Client {
    const fn backend(&self) -> Backend {
        match self {
            Self::Kafka(_) => Backend::Kafka,
            Self::Nats(_) => Backend::Nats,
        }
    }

    fn send(&mut self, topic: &str, input: Input) -> Result<(), String> {
        match self {
            Self::Kafka(kafka) => kafka.send(topic, input),
            Self::Nats(nats) => nats.send(topic, input),
        }
    }

    /// Waits for the answers to everything that was sent.
    fn end(self) -> Result<(), String> {
        match self {
            Self::Kafka(kafka) => kafka.end(),
            Self::Nats(nats) => nats.end(),
        }
    }
}

/// The thread that publishes.
pub(crate) struct Publishing {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), String>>,
}

impl Publishing {
    pub(crate) fn begin(
        client: Client,
        topics: &Arc<Topics>,
        options: &Options,
        dice: Dice,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (topics, stopped, rate, time) =
            (Arc::clone(topics), Arc::clone(&stop), options.rate, options.duration());
        let thread =
            std::thread::spawn(move || publish(client, &topics, dice, rate, time, &stopped));
        Self { stop, thread }
    }

    /// Whether each message has its answer.
    pub(crate) fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    pub(crate) async fn end(self) -> Result<(), String> {
        self.stop.store(true, Relaxed);
        let ended = tokio::task::spawn_blocking(move || self.thread.join()).await;
        match ended {
            Ok(Ok(result)) => result.map_err(|error| format!("publishing: {error}")),
            _ => Err("publishing has panicked".to_owned()),
        }
    }
}

fn publish(
    mut client: Client,
    topics: &Topics,
    mut dice: Dice,
    rate: u64,
    time: Duration,
    stop: &AtomicBool,
) -> Result<(), String> {
    let (start, mut sent) = (Instant::now(), 0_u64);
    while start.elapsed() < time && !stop.load(Relaxed) {
        let due = start + Duration::from_nanos(sent * 1_000_000_000 / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let input = input::next(&mut dice, client.backend());
        client.send(&topics.names[input.topic], input)?;
        sent += 1;
    }
    client.end()
}
