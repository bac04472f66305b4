//! The task of a source: asks for messages while there is room, answers for what is settled, and
//! keeps what is open alive.
//!
//! What stands at the server when it begins, or begins again after a lost connection, is
//! [`recovery`](super::recovery)'s.

use super::{
    End, Ready, Shared, answers::Answers, arrivals::next, pages::Pages, pull::Request,
    unreadable::Looked,
};
use crate::{consumers::Consumer, lease::Lease, link::Link};
use async_nats::Subscriber;
use buslane_core::{SymptomKind, excerpt};
use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::{
    sync::watch,
    time::{Sleep, sleep},
};

const PAUSE: Duration = Duration::from_millis(50);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How a source is read.
pub(crate) struct Plan {
    pub(crate) consumer: Consumer,
    /// What keeps all others from reading it: a delivery that did not come here was lost on its
    /// way. None where it is shared.
    pub(crate) lease: Option<Lease>,
}

pub(crate) struct Reader {
    pub(super) link: Arc<Link>,
    pub(super) shared: Arc<Shared>,
    pub(super) plan: Plan,
    epoch: watch::Receiver<u64>,
    pub(super) inbox: Option<Subscriber>,
    address: String,
    /// Messages that were asked for and have not come.
    pub(super) wanted: usize,
    /// When the server last said something.
    pub(super) heard: Instant,
    beat_at: Instant,
    timer: Pin<Box<Sleep>>,
    pub(super) pages: Pages,
    pub(super) answers: Answers,
    /// While something from before may come: what has come, by sequence.
    pub(super) held: Option<BTreeMap<u64, Ready>>,
    /// The number of the next delivery, while nobody else has got any.
    pub(super) expected: Option<u64>,
    /// Behind the last message that came for the first time.
    pub(super) next_sequence: u64,
    pub(super) looked: Looked,
    failures: u32,
}

/// Why to do something else.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing special.
    On,
    /// The source has ended.
    Ended,
    /// The requests are void: begin again.
    Again,
}

impl Reader {
    pub(crate) fn new(link: Arc<Link>, shared: Arc<Shared>, plan: Plan) -> Self {
        let (epoch, now) = (link.epoch.clone(), Instant::now());
        let answers = Answers::new(link.client(), plan.consumer.settings.max_deliver);
        Self {
            link,
            shared,
            plan,
            epoch,
            inbox: None,
            address: String::new(),
            wanted: 0,
            heard: now,
            beat_at: now,
            timer: Box::pin(sleep(Duration::ZERO)),
            pages: Pages::default(),
            answers,
            held: None,
            expected: None,
            next_sequence: 0,
            looked: Looked::default(),
            failures: 0,
        }
    }

    /// Reads until the source ends, then until what is open has ended or its deadline passes.
    /// Returns how many messages were open then. What it does seldom is boxed: there may be many
    /// readers, and most of them just read.
    pub(crate) async fn run(mut self) -> usize {
        let mut is_fresh = true;
        loop {
            if self.shared.end_state() != End::Open {
                for kind in [SymptomKind::PartitionDead, SymptomKind::SettlementRefused] {
                    self.link.symptoms.clear(kind, self.shared.place());
                }
                return Box::pin(self.finish()).await;
            }
            if is_fresh {
                match Box::pin(self.begin()).await {
                    Ok(()) => {
                        (is_fresh, self.failures) = (false, 0);
                        self.link.symptoms.clear(SymptomKind::PartitionDead, self.shared.place());
                    }
                    Err(reason) => self.pause(&reason).await,
                }
                continue;
            }
            self.pull().await;
            let idle = Instant::now() + self.plan.consumer.settings.heartbeat * 2;
            is_fresh = self.turn(idle).await == Turn::Again;
        }
    }

    /// A new inbox, a consumer that is there, and nothing of an earlier reader left.
    async fn begin(&mut self) -> Result<(), String> {
        self.epoch.borrow_and_update();
        self.held.get_or_insert_default();
        self.shared.looks_back.store(true, Ordering::Relaxed);
        self.read_to_the_end().await;
        self.wanted = 0;
        let client = self.link.client();
        self.address = client.new_inbox();
        let inbox =
            client.subscribe(self.address.clone()).await.map_err(|error| error.to_string())?;
        self.inbox = Some(inbox);
        self.answers.client = client;
        self.answers.send_again().await;
        self.recover().await
    }

    async fn pause(&mut self, reason: &str) {
        let source = &self.shared.source;
        self.failures += 1;
        self.link.symptoms.note(SymptomKind::PartitionDead, self.shared.place(), reason);
        if self.failures == 3 {
            tracing::warn!(
                topic = source.topic.as_str(),
                partition = source.partition,
                reason = %excerpt::error(&reason),
                "reading is interrupted"
            );
        }
        let pause = PAUSE.saturating_mul(1 << self.failures.min(8)).min(LONGEST_PAUSE);
        let until = Instant::now() + pause;
        while Instant::now() < until && self.shared.end_state() == End::Open {
            self.turn(until).await;
        }
    }

    /// Asks for as many messages as there is room for, once half of the last request has come.
    async fn pull(&mut self) {
        let settings = &self.plan.consumer.settings;
        let prefetch = settings.prefetch as usize;
        let (ready, room) = {
            let state = self.shared.state.lock();
            (state.ready.len() + state.unsettled.len(), state.window.room())
        };
        let most =
            prefetch.saturating_sub(ready + self.wanted).min(room.saturating_sub(self.wanted));
        if most == 0 || self.wanted + ready > prefetch / 2 {
            return;
        }
        let request = Request::waiting(most, settings.expires, settings.heartbeat);
        self.request(most, request).await;
    }

    pub(super) async fn request(&mut self, count: usize, request: Request) {
        let subject = self.plan.consumer.next_subject();
        let client = self.link.client();
        let asked =
            client.publish_with_reply(subject, self.address.clone(), request.payload()).await;
        if asked.is_ok() {
            if self.wanted == 0 {
                self.heard = Instant::now();
            }
            self.wanted += count;
        }
    }

    /// Waits for the next thing that happens, no longer than until `until`, and does what it asks
    /// for.
    pub(super) async fn turn(&mut self, until: Instant) -> Turn {
        let silence = self.plan.consumer.settings.heartbeat * 2 + Duration::from_millis(500);
        let mut wake = until.min(self.beat_at);
        wake = self.answers.due().map_or(wake, |due| wake.min(due));
        if self.wanted > 0 {
            wake = wake.min(self.heard + silence);
        }
        if let End::Ended(Some(deadline)) = self.shared.end_state() {
            wake = wake.min(deadline);
        }
        // Setting it is not cheap, and most turns end long before: one that comes too early does no
        // harm.
        if self.timer.is_elapsed() || wake < self.timer.deadline().into_std() {
            self.timer.as_mut().reset(wake.into());
        }
        let mut turn = Turn::On;
        tokio::select! {
            biased;
            _ = self.epoch.changed() => turn = Turn::Again,
            () = self.shared.work.notified() => {}
            messages = next(self.inbox.as_mut()) => turn = self.arrive(messages).await,
            is_confirmed = self.answers.confirmed() => self.heard_of_answers(is_confirmed),
            () = self.timer.as_mut() => {}
        }
        let now = Instant::now();
        if self.shared.is_ours() {
            self.settle_first(now).await;
            self.answers.send(&self.shared, now).await;
        }
        if now >= self.beat_at {
            self.beat(now).await;
        }
        if turn == Turn::On && self.wanted > 0 && now >= self.heard + silence {
            tracing::debug!(
                topic = self.shared.source.topic.as_str(),
                "the server keeps silent: asking again"
            );
            turn = Turn::Again;
        }
        match self.shared.end_state() {
            End::Open => turn,
            _ => Turn::Ended,
        }
    }

    /// The server has confirmed what it was answered, or has not.
    fn heard_of_answers(&self, is_confirmed: bool) {
        let (kind, place) = (SymptomKind::SettlementRefused, self.shared.place());
        if is_confirmed {
            self.link.symptoms.clear(kind, place);
        } else {
            self.link.symptoms.note(kind, place, "the server does not confirm acknowledgements");
        }
    }

    async fn beat(&mut self, now: Instant) {
        if !self.shared.is_ours() {
            return;
        }
        let beat = self.plan.consumer.settings.beat();
        self.beat_at = now + beat / 2;
        let mut silent = Vec::new();
        if let Some(before) = now.checked_sub(beat / 2) {
            self.shared.state.lock().window.silent_since(before, now, &mut silent);
        }
        self.answers.beat(silent).await;
    }
}
