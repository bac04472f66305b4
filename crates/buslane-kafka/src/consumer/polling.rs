//! The thread that polls the client and owns the group member.

use super::{
    context::Context,
    member::GroupMember,
    membership::{Position, TopicPartition},
    subscription::SubscribedTopics,
};
use crate::{
    bootstrap::{ANY_TOPIC, Bootstrap},
    config::KafkaConfig,
    native::has_events,
    token::Token,
    wake::Wake,
};
use buslane_core::{
    BrokerError, BrokerEvent, EventQueue, Lag, SubscribeOptions, SymptomKind, Topic, excerpt,
};
use crossbeam_channel::{Receiver, TryRecvError};
use parking_lot::MutexGuard;
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

/// A request to the polling thread.
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
    Positions {
        answer: oneshot::Sender<Vec<(TopicPartition, Position)>>,
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
    /// The handle was dropped without a close.
    Abandon,
}

/// How the thread ends.
enum Ending {
    Closed { until: Instant, deadline: Duration, answer: oneshot::Sender<Result<(), BrokerError>> },
    Abandoned,
}

/// The largest number of events that are served between two rounds.
const EVENTS: usize = 64;
/// How long the last commit may take beyond the deadline of a close.
const CLOSE_COMMIT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last commit may take without a close.
const ABANDON_COMMIT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time between two probes of the brokers.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How long a probe may take. The thread serves nothing else meanwhile.
const PROBE_TIMEOUT: Duration = Duration::from_millis(200);

pub(super) struct PollingThread {
    client: BaseConsumer<Context>,
    commands: Receiver<Command>,
    events: Arc<EventQueue>,
    wake: Arc<Wake>,
    group: String,
    subscription: SubscribedTopics,
    bootstrap: Bootstrap,
    /// When to probe the brokers next.
    probe_at: Instant,
    /// Whether no broker can be reached.
    is_lost: bool,
    /// Whether the client has reported a fatal error.
    has_failed: bool,
}

impl PollingThread {
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
            subscription: SubscribedTopics::default(),
            bootstrap: Bootstrap::new(&config.brokers),
            probe_at: Instant::now() + PROBE_INTERVAL,
            is_lost: false,
            has_failed: false,
        }
    }

    pub(super) fn run(mut self) {
        self.wake.bind();
        self.member().open_commits(&self.client);
        let end = loop {
            if let Some(end) = self.handle_commands() {
                break end;
            }
            if !self.round() {
                let timeout = self.member().park_timeout();
                self.wake.park(timeout);
            }
        };
        let answer = match end {
            Ending::Closed { until, deadline, answer } => {
                Some((self.finish(until, deadline), answer))
            }
            Ending::Abandoned => {
                self.events.close();
                self.member().commit_all(&self.client, ABANDON_COMMIT_TIMEOUT);
                None
            }
        };
        self.member().clear();
        self.leave();
        if let Some((result, answer)) = answer {
            let _ = answer.send(result);
        }
    }

    /// Locks the member. The lock must not be held while the client is polled.
    fn member(&self) -> MutexGuard<'_, GroupMember> {
        self.client.context().member.lock()
    }

    /// Does one round of work. Returns whether more work may be waiting.
    fn round(&mut self) -> bool {
        let has_read = self.member().turn(&self.client);
        self.subscription.send_if_due(&self.client);
        let has_more = self.serve();
        self.probe();
        has_read || has_more
    }

    /// Serves waiting events. Returns whether more events may be waiting.
    fn serve(&mut self) -> bool {
        for _ in 0..EVENTS {
            match self.client.poll(Duration::ZERO) {
                None if !has_events(self.client.client()) => return false,
                None => {}
                Some(Ok(message)) => {
                    // Each partition has a separate queue, so a message here is lost.
                    let (topic, partition, offset) =
                        (message.topic(), message.partition(), message.offset());
                    warn!(topic, partition, offset, "message outside of its partition's queue");
                }
                Some(Err(error)) => self.on_error(&error),
            }
        }
        true
    }

    /// Handles waiting commands, until one ends the thread.
    fn handle_commands(&mut self) -> Option<Ending> {
        loop {
            match self.commands.try_recv() {
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) | Ok(Command::Abandon) => {
                    return Some(Ending::Abandoned);
                }
                Ok(Command::Subscribe { topics, answer }) => {
                    let _ = answer.send(self.subscription.add(topics, &self.client));
                }
                Ok(Command::Unsubscribe { topic, answer }) => {
                    let _ = answer.send(self.subscription.remove(&topic, &self.client));
                }
                Ok(Command::Lag { answer }) => {
                    let _ = answer.send(self.member().lag(&self.client));
                }
                Ok(Command::Positions { answer }) => {
                    let _ = answer.send(self.member().positions(&self.client));
                }
                Ok(Command::Token { token, answer }) => {
                    let given = token.give_to(self.client.client());
                    let _ =
                        answer.send(given.map_err(|reason| BrokerError::Unreachable { reason }));
                }
                Ok(Command::StopReading { answer }) => {
                    self.member().stop();
                    let _ = answer.send(());
                }
                Ok(Command::Close { until, deadline, answer }) => {
                    return Some(Ending::Closed { until, deadline, answer });
                }
            }
        }
    }

    fn on_error(&mut self, error: &KafkaError) {
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
        self.member().explain(error)
    }

    fn on_reconnect(&mut self) {
        self.is_lost = false;
        self.client.context().symptoms.clear(SymptomKind::LoginRefused, None);
        self.events.push(BrokerEvent::Reconnected);
    }

    /// Checks whether a lost broker is back, and whether the client knows any broker at all. The
    /// client reports neither by itself.
    fn probe(&mut self) {
        if Instant::now() < self.probe_at {
            return;
        }
        let timeout = if self.is_lost { PROBE_TIMEOUT } else { Duration::ZERO };
        let answer = self.bootstrap.fetch_metadata(self.client.client(), ANY_TOPIC, timeout);
        if self.is_lost && answer.is_ok() {
            self.on_reconnect();
        }
        self.probe_at = Instant::now() + PROBE_INTERVAL;
    }

    /// Waits for messages in handlers, and commits.
    fn finish(&mut self, until: Instant, deadline: Duration) -> Result<(), BrokerError> {
        self.events.close();
        {
            let mut member = self.member();
            member.stop();
            member.set_draining(true);
        }
        let open = loop {
            self.round();
            let open = self.member().running();
            let left = until.saturating_duration_since(Instant::now());
            if open == 0 || left.is_zero() {
                break open;
            }
            self.wake.park(left.min(Duration::from_millis(50)));
        };
        let mut member = self.member();
        member.set_draining(false);
        member.commit_all(
            &self.client,
            until.saturating_duration_since(Instant::now()).max(CLOSE_COMMIT_TIMEOUT),
        );
        if open == 0 {
            return Ok(());
        }
        Err(BrokerError::Timeout {
            what: format!("{open} open deliveries of group {}", self.group),
            deadline,
        })
    }

    /// Leaves the group: dropping the client closes it and waits on this thread. An explicit close
    /// would make the drop report an error.
    fn leave(self) {
        drop(self.client);
    }
}
