//! One group member: a thread that polls the client and owns all that belongs to it, and the handle
//! to that thread.
//!
//! The thread never waits for anybody but the broker: readers take messages out of bounded boxes,
//! settlements come in through lists, and commands through a bounded channel.

mod ages;
mod assignment;
mod context;
mod copier;
mod intake;
mod membership;
mod owner;
mod polling;
mod subscribed;

use crate::{
    ConnectError, KafkaConfigError, Token,
    config::{Assignment, KafkaConfig, OffsetReset},
    reasons::Reasons,
    wake::Wake,
};
use assignment::Mail;
use buslane_core::{BrokerError, EventQueue, Lag, SubscribeOptions, Symptoms, Topic};
use context::Context;
use crossbeam_channel::{Sender, TrySendError, bounded};
use membership::CommitRules;
use owner::Owner;
pub(crate) use owner::Standing;
use parking_lot::Mutex;
use polling::{Command, Polling};
use rdkafka::consumer::BaseConsumer;
use std::{
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::Duration,
};
use tokio::{sync::oneshot, time::Instant};

/// Commands that wait for the polling thread.
const COMMANDS: usize = 64;

/// The handle to the polling thread.
///
/// # Drop behaviour
/// Dropping it without [`Consumer::close`] ends the thread after a last commit; what is open is not
/// awaited.
pub(crate) struct Consumer {
    commands: Sender<Command>,
    wake: Arc<Wake>,
    pub(crate) events: Arc<EventQueue>,
}

impl Consumer {
    /// Makes the client and starts its thread. Does not connect yet.
    pub(crate) fn start(
        config: &KafkaConfig,
        symptoms: &Arc<Symptoms>,
    ) -> Result<Self, ConnectError> {
        let events = Arc::new(EventQueue::default());
        let mail = Arc::new(Mail::default());
        let wake = Arc::clone(&mail.wake);
        let reasons = Arc::new(Reasons::default());
        let consumer = &config.consumer;
        let rules = CommitRules {
            interval: consumer.commit_interval,
            every: consumer.commit_every,
            metadata_limit: consumer.metadata_limit,
        };
        let begins_at_end = consumer.offset_reset == OffsetReset::Latest;
        let owner = Owner::new(
            rules,
            consumer.drain_deadline,
            begins_at_end,
            &mail,
            &events,
            &reasons,
            symptoms,
        );
        // A group whose broker shares out never waits for all of its members.
        let is_barrier = consumer.assignment != Assignment::Broker;
        let (owner, symptoms) = (Mutex::new(owner), Arc::clone(symptoms));
        let context =
            Context { owner, reasons, symptoms, is_barrier, is_member: AtomicBool::new(false) };
        let mut client: BaseConsumer<Context> =
            config.consumer().create_with_context(context).map_err(KafkaConfigError::from)?;
        let bell = Arc::clone(&wake);
        client.set_nonempty_callback(move || bell.wake());
        let (commands, inbox) = bounded(COMMANDS);
        let polling = Polling::new(client, inbox, Arc::clone(&events), Arc::clone(&wake), config);
        thread::Builder::new()
            .name("buslane-kafka".to_owned())
            .spawn(move || polling.run())
            .map_err(|error| BrokerError::Unreachable { reason: error.to_string() })?;
        Ok(Self { commands, wake, events })
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

    pub(crate) async fn standings(&self) -> Result<Vec<Standing>, BrokerError> {
        self.ask(|answer| Command::Standings { answer }).await
    }

    /// Hands the member the token of its next login.
    pub(crate) async fn log_in_with(&self, token: Token) -> Result<(), BrokerError> {
        self.ask(|answer| Command::Token { token, answer }).await?
    }

    pub(crate) async fn stop_reading(&self) {
        // A thread that has ended reads nothing either.
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

impl Drop for Consumer {
    fn drop(&mut self) {
        // The channel ends when its last sender goes, which is after this; so the thread is told.
        let _ = self.commands.try_send(Command::Abandon);
        self.wake.wake();
    }
}
