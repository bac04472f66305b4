//! One group member: a thread that polls the client and owns all state of the member, and the
//! handle to that thread.
//!
//! Messages leave through bounded channels, settlements arrive in lists, and commands in a bounded
//! channel. The thread waits for handlers only in a rebalance and at the close.

mod channel;
mod context;
mod counts;
mod member;
mod membership;
mod partition;
mod polling;
mod subscription;
mod timestamp_index;

pub(crate) use membership::{Position, TopicPartition};

use crate::{
    config::{Assignment, KafkaConfig},
    error::{ConnectError, KafkaConfigError},
    error_log::ErrorLog,
    token::Token,
    wake::Wake,
};
use buslane_core::{BrokerError, EventQueue, Lag, SubscribeOptions, Symptoms, Topic};
use channel::SettlementInbox;
use context::Context;
use counts::MemberCounts;
use crossbeam_channel::{Sender, TrySendError, bounded};
use member::GroupMember;
use parking_lot::Mutex;
use polling::{Command, PollingThread};
use rdkafka::consumer::BaseConsumer;
use std::{
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::Duration,
};
use tokio::{sync::oneshot, time::Instant};

/// The capacity of the command channel of the polling thread.
const COMMANDS: usize = 64;

/// The handle to the polling thread.
///
/// # Drop behaviour
/// Dropping the handle without [`MemberHandle::close`] ends the thread after a last commit, without
/// waiting for open messages.
pub(crate) struct MemberHandle {
    commands: Sender<Command>,
    wake: Arc<Wake>,
    pub(crate) events: Arc<EventQueue>,
    pub(crate) counts: Arc<MemberCounts>,
}

impl MemberHandle {
    /// Creates the client and starts its thread. Does not connect yet.
    pub(crate) fn start(
        config: &KafkaConfig,
        symptoms: &Arc<Symptoms>,
    ) -> Result<Self, ConnectError> {
        let events = Arc::new(EventQueue::default());
        let inbox = Arc::new(SettlementInbox::default());
        let (wake, counts) = (Arc::clone(&inbox.wake), Arc::clone(&inbox.counts));
        let errors = Arc::new(ErrorLog::default());
        let member = GroupMember::new(&config.consumer, &inbox, &events, &errors, symptoms);
        let context = Context {
            member: Mutex::new(member),
            errors,
            symptoms: Arc::clone(symptoms),
            has_join_barrier: config.consumer.assignment != Assignment::Broker,
            is_subscribed: AtomicBool::new(false),
        };
        let mut client: BaseConsumer<Context> =
            config.consumer().create_with_context(context).map_err(KafkaConfigError::from)?;
        let waker = Arc::clone(&wake);
        client.set_nonempty_callback(move || waker.wake());
        let (commands, received) = bounded(COMMANDS);
        let polling =
            PollingThread::new(client, received, Arc::clone(&events), Arc::clone(&wake), config);
        thread::Builder::new()
            .name("buslane-kafka".to_owned())
            .spawn(move || polling.run())
            .map_err(|error| BrokerError::Unreachable { reason: error.to_string() })?;
        Ok(Self { commands, wake, events, counts })
    }

    pub(crate) async fn subscribe(
        &self,
        topics: Vec<(Topic, SubscribeOptions)>,
    ) -> Result<(), BrokerError> {
        self.ask(|answer| Command::Subscribe { topics, answer }).await?
    }

    pub(crate) async fn unsubscribe(&self, topic: Topic) -> Result<(), BrokerError> {
        self.ask(|answer| Command::Unsubscribe { topic, answer }).await?
    }

    pub(crate) async fn lag(&self) -> Result<Vec<Lag>, BrokerError> {
        self.ask(|answer| Command::Lag { answer }).await
    }

    /// The group's positions in the partitions of this member.
    pub(crate) async fn positions(&self) -> Result<Vec<(TopicPartition, Position)>, BrokerError> {
        self.ask(|answer| Command::Positions { answer }).await
    }

    /// Sets the token of the member's next login.
    pub(crate) async fn set_token(&self, token: Token) -> Result<(), BrokerError> {
        self.ask(|answer| Command::Token { token, answer }).await?
    }

    pub(crate) async fn stop_reading(&self) {
        // A thread that has ended reads nothing.
        let _ = self.ask(|answer| Command::StopReading { answer }).await;
    }

    pub(crate) async fn close(&self, deadline: Duration) -> Result<(), BrokerError> {
        let until = Instant::now() + deadline;
        self.ask(|answer| Command::Close { until: until.into_std(), deadline, answer }).await?
    }

    /// Sends a command and waits for its answer.
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, BrokerError> {
        let (answer, answered) = oneshot::channel();
        let mut command = command(answer);
        loop {
            match self.commands.try_send(command) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return Err(BrokerError::Closed),
                Err(TrySendError::Full(back)) => command = back,
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.wake.wake();
        answered.await.map_err(|_| BrokerError::Closed)
    }
}

impl Drop for MemberHandle {
    fn drop(&mut self) {
        // The sender is dropped after this function, so the end of the channel would not wake the
        // thread.
        let _ = self.commands.try_send(Command::Abandon);
        self.wake.wake();
    }
}
