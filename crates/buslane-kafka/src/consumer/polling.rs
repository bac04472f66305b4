//! The thread that polls the client.

use super::{context::Context, owner::Standing, subscribed::Subscribed};
use crate::{
    KafkaConfig, Token,
    bootstrap::{ANY_TOPIC, Bootstrap},
    native::has_events,
    wake::Wake,
};
use buslane_core::{
    BrokerError, BrokerEvent, EventQueue, Lag, SubscribeOptions, SymptomKind, Topic, excerpt,
};
use crossbeam_channel::{Receiver, TryRecvError};
use rdkafka::{
    Message as _,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use tracing::warn;

/// What the thread is told to do.
pub(super) enum Command {
    Subscribe {
        topics: Vec<(Topic, SubscribeOptions)>,
        answer: oneshot::Sender<Result<(), BrokerError>>,
    },
    Unsubscribe {
        topic: Topic,
        answer: oneshot::Sender<Result<(), BrokerError>>,
    },
    Lag {
        answer: oneshot::Sender<Vec<Lag>>,
    },
    Standings {
        answer: oneshot::Sender<Vec<Standing>>,
    },
    Token {
        token: Token,
        answer: oneshot::Sender<Result<(), BrokerError>>,
    },
    StopReading {
        answer: oneshot::Sender<()>,
    },
    Close {
        until: Instant,
        deadline: Duration,
        answer: oneshot::Sender<Result<(), BrokerError>>,
    },
    /// Nobody is there any more.
    Abandon,
}

/// How a thread ends.
enum End {
    Closed { until: Instant, deadline: Duration, answer: oneshot::Sender<Result<(), BrokerError>> },
    Abandoned,
}

/// Events that are served between two rounds.
const EVENTS: usize = 64;
/// How long the last commit may take beyond the deadline of a close.
const LAST_COMMIT: Duration = Duration::from_secs(5);
/// How long it may take when nobody has waited for a close.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Time between two looks whether there is a broker.
const PROBE_PAUSE: Duration = Duration::from_secs(1);
/// How long such a look may take: nothing else is served meanwhile.
const PROBE_PATIENCE: Duration = Duration::from_millis(200);

pub(super) struct Polling {
    client: BaseConsumer<Context>,
    commands: Receiver<Command>,
    events: Arc<EventQueue>,
    wake: Arc<Wake>,
    group: String,
    subscribed: Subscribed,
    bootstrap: Bootstrap,
    /// When to look next whether there is a broker to ask.
    probe_at: Instant,
    /// No broker can be reached.
    is_lost: bool,
    has_failed: bool,
}

impl Polling {
    pub(super) fn new(
        client: BaseConsumer<Context>,
        commands: Receiver<Command>,
        events: Arc<EventQueue>,
        wake: Arc<Wake>,
        config: &KafkaConfig,
    ) -> Self {
        Self {
            client,
            commands,
            events,
            wake,
            group: config.group.clone(),
            subscribed: Subscribed::default(),
            bootstrap: Bootstrap::new(&config.brokers),
            probe_at: Instant::now() + PROBE_PAUSE,
            is_lost: false,
            has_failed: false,
        }
    }

    pub(super) fn run(mut self) {
        self.wake.own();
        self.client.context().owner.lock().own(&self.client);
        let end = loop {
            if let Some(end) = self.obey() {
                break end;
            }
            if !self.round() {
                let patience = self.client.context().owner.lock().patience();
                self.wake.rest(patience);
            }
        };
        let answer = match end {
            End::Closed { until, deadline, answer } => Some((self.finish(until, deadline), answer)),
            End::Abandoned => {
                self.events.close();
                self.client.context().owner.lock().commit_all(&self.client, LAST_WORDS);
                None
            }
        };
        self.client.context().owner.lock().clear();
        self.leave();
        if let Some((result, answer)) = answer {
            let _ = answer.send(result);
        }
    }

    /// Serves the client once. Returns whether there may be more to do at once.
    fn round(&mut self) -> bool {
        let has_read = self.client.context().owner.lock().turn(&self.client);
        self.subscribed.follow(&self.client);
        let has_more = self.serve();
        self.probe();
        has_read || has_more
    }

    /// Serves the events that wait. Returns whether there may be more.
    fn serve(&mut self) -> bool {
        for _ in 0..EVENTS {
            match self.client.poll(Duration::ZERO) {
                None if !has_events(self.client.client()) => return false,
                None => {}
                Some(Ok(message)) => {
                    // Partitions have queues of their own; a message here would go lost.
                    let (topic, partition, offset) =
                        (message.topic(), message.partition(), message.offset());
                    warn!(topic, partition, offset, "message outside of its partition's queue");
                }
                Some(Err(error)) => self.trouble(&error),
            }
        }
        true
    }

    fn obey(&mut self) -> Option<End> {
        loop {
            match self.commands.try_recv() {
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) | Ok(Command::Abandon) => {
                    return Some(End::Abandoned);
                }
                Ok(Command::Subscribe { topics, answer }) => {
                    let _ = answer.send(self.subscribed.add(topics, &self.client));
                }
                Ok(Command::Unsubscribe { topic, answer }) => {
                    let _ = answer.send(self.subscribed.remove(&topic, &self.client));
                }
                Ok(Command::Lag { answer }) => {
                    let _ = answer.send(self.client.context().owner.lock().lag(&self.client));
                }
                Ok(Command::Standings { answer }) => {
                    let _ = answer.send(self.client.context().owner.lock().standings());
                }
                Ok(Command::Token { token, answer }) => {
                    let handed = token.hand_to(self.client.client());
                    let _ =
                        answer.send(handed.map_err(|reason| BrokerError::Unreachable { reason }));
                }
                Ok(Command::StopReading { answer }) => {
                    self.client.context().owner.lock().stop();
                    let _ = answer.send(());
                }
                Ok(Command::Close { until, deadline, answer }) => {
                    return Some(End::Closed { until, deadline, answer });
                }
            }
        }
    }

    fn trouble(&mut self, error: &KafkaError) {
        if let KafkaError::MessageConsumptionFatal(_) = error {
            if !std::mem::replace(&mut self.has_failed, true) {
                let reason = self.explain(error);
                self.events.push(BrokerEvent::Failed(BrokerError::Unreachable { reason }));
            }
            return;
        }
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Authentication) {
            let reason = self.explain(error);
            self.client.context().symptoms.note(SymptomKind::LoginRefused, None, reason);
        }
        match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::Resolve,
            ) => {
                if !std::mem::replace(&mut self.is_lost, true) {
                    self.events.push(BrokerEvent::Disconnected { reason: self.explain(error) });
                }
            }
            _ => warn!(error = %excerpt::error(error), "kafka client"),
        }
    }

    fn explain(&self, error: &KafkaError) -> String {
        self.client.context().owner.lock().explain(error)
    }

    fn found(&mut self) {
        self.is_lost = false;
        self.client.context().symptoms.clear(SymptomKind::LoginRefused, None);
        self.events.push(BrokerEvent::Reconnected);
    }

    /// Looks whether a lost broker is back, and whether there is one to ask at all: the client
    /// itself tells of neither.
    fn probe(&mut self) {
        if Instant::now() < self.probe_at {
            return;
        }
        let patience = if self.is_lost { PROBE_PATIENCE } else { Duration::ZERO };
        let answer = self.bootstrap.ask(self.client.client(), ANY_TOPIC, patience);
        if self.is_lost && answer.is_ok() {
            self.found();
        }
        self.probe_at = Instant::now() + PROBE_PAUSE;
    }

    /// Waits for what is being handled, and commits.
    fn finish(&mut self, until: Instant, deadline: Duration) -> Result<(), BrokerError> {
        self.events.close();
        {
            let mut owner = self.client.context().owner.lock();
            owner.stop();
            owner.set_draining(true);
        }
        let open = loop {
            self.round();
            let open = self.client.context().owner.lock().running();
            let left = until.saturating_duration_since(Instant::now());
            if open == 0 || left.is_zero() {
                break open;
            }
            self.wake.rest(left.min(Duration::from_millis(50)));
        };
        let mut owner = self.client.context().owner.lock();
        owner.set_draining(false);
        owner.commit_all(
            &self.client,
            until.saturating_duration_since(Instant::now()).max(LAST_COMMIT),
        );
        if open == 0 {
            return Ok(());
        }
        Err(BrokerError::Timeout {
            what: format!("{open} open deliveries of group {}", self.group),
            deadline,
        })
    }

    /// Leaves the group. Dropping the client, on this thread, closes it and waits for that; one
    /// that was closed before would call the second close an error.
    fn leave(self) {
        drop(self.client);
    }
}
