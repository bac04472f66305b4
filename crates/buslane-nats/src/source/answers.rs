//! Sends answers to the server, and keeps them until the server has shown that it has them.
//!
//! The server takes what comes over one connection in order, so a question behind many answers
//! confirms them all. What is not confirmed when a connection ends is sent again on the next: a
//! message that was handled does not come again because its acknowledgement was lost.

use super::{
    Shared,
    past::Past,
    window::{Answer, Fate},
};
use async_nats::{Client, Subject};
use buslane_core::{BoxFuture, room_after};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

const DONE: Bytes = Bytes::from_static(b"+ACK");
const GIVEN: Bytes = Bytes::from_static(b"+TERM");
const BACK: Bytes = Bytes::from_static(b"-NAK");
pub(super) const BEAT: Bytes = Bytes::from_static(b"+WPI");
/// How long what is given back waits for its neighbours, so that they go back in order; longer each
/// time it comes back. It waits here and not at the server: whoever reads next must find it there.
const GATHER: Duration = Duration::from_millis(20);
/// What a question that was not answered waits before the next.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

pub(super) struct Answers {
    /// As of the last connection.
    pub(super) client: Arc<Client>,
    /// How often the server delivers a message, if not without end.
    max_deliver: Option<u32>,
    /// Sent, and not shown to have arrived. Not what was given back: the server waits for it in any
    /// case.
    unconfirmed: VecDeque<Answer>,
    /// What a question can be asked about, when something was sent since the last one.
    last: Option<Subject>,
    /// A question on its way, and how many answers it confirms.
    question: Option<(BoxFuture<'static, bool>, usize)>,
    /// To be given back, by sequence.
    back: BTreeMap<u64, Answer>,
    back_due: Option<Instant>,
    /// Given back, and not come again.
    returned: HashSet<u64>,
    /// What was settled lately.
    past: Past,
    buffer: Vec<Answer>,
}

impl Answers {
    pub(super) fn new(client: Arc<Client>, max_deliver: Option<u32>) -> Self {
        Self {
            client,
            max_deliver,
            unconfirmed: VecDeque::new(),
            last: None,
            question: None,
            back: BTreeMap::new(),
            back_due: None,
            returned: HashSet::new(),
            past: Past::default(),
            buffer: Vec::new(),
        }
    }

    /// When the messages that are to be given back are due.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.back_due
    }

    /// Whether this message was settled here, so that a delivery of it says nothing new: its answer
    /// is on its way, or was forgotten by a server that came back lately.
    pub(super) fn is_settled(&self, answer: &Answer, now: Instant) -> bool {
        let is_on_its_way = || self.unconfirmed.iter().any(|sent| sent.sequence == answer.sequence);
        (answer.deliveries > 1 && is_on_its_way()) || self.past.contains(answer, now)
    }

    /// The server has said something.
    pub(super) fn heard(&mut self, now: Instant) {
        self.past.heard(now);
    }

    /// A message has come.
    pub(super) fn arrived(&mut self, sequence: u64) {
        if !self.returned.is_empty() {
            self.returned.remove(&sequence);
        }
    }

    /// Whether the server delivers the message no more.
    pub(super) fn is_last(&self, answer: &Answer) -> bool {
        self.max_deliver.is_some_and(|most| answer.deliveries >= most.into())
    }

    /// Messages that were given back and have not come again.
    pub(super) fn returned(&self) -> usize {
        self.returned.len()
    }

    /// Sends what was settled since the last call, and gives back what is due by `now`.
    pub(super) async fn send(&mut self, shared: &Shared, now: Instant) {
        let mut buffer = std::mem::take(&mut self.buffer);
        {
            let mut state = shared.state.lock();
            if state.window.has_settled() {
                state.window.answers(&mut buffer);
            }
        }
        let count = buffer.len();
        for answer in buffer.drain(..) {
            self.answer(answer, now).await;
        }
        if count > 0 {
            buffer.shrink_to(room_after(buffer.capacity(), count));
        }
        self.buffer = buffer;
        if self.back_due.is_some_and(|due| due <= now) {
            self.give_back().await;
        }
        self.ask();
    }

    pub(super) async fn answer(&mut self, answer: Answer, now: Instant) {
        match answer.fate {
            Fate::Back => {
                let again = u32::try_from(answer.deliveries.saturating_sub(1)).unwrap_or(u32::MAX);
                let due = now + GATHER.saturating_mul(1 << again.min(10)).min(LONGEST);
                self.back_due = Some(self.back_due.map_or(due, |before| before.max(due)));
                self.back.insert(answer.sequence, answer);
            }
            Fate::Done | Fate::Given => {
                self.last = Some(answer.reply.clone());
                self.publish(answer.reply.clone(), body(answer.fate)).await;
                self.past.add(&answer, now);
                self.unconfirmed.push_back(answer);
            }
        }
    }

    /// Gives back at once, in order.
    pub(super) async fn give_back(&mut self) {
        self.back_due = None;
        for (_, answer) in std::mem::take(&mut self.back) {
            self.last = Some(answer.reply.clone());
            if self.is_last(&answer) {
                let (sequence, deliveries) = (answer.sequence, answer.deliveries);
                tracing::error!(subject = %answer.reply, sequence, deliveries, "given back at its last delivery: it does not come again");
            } else {
                self.returned.insert(answer.sequence);
            }
            self.publish(answer.reply, BACK).await;
        }
    }

    /// A sign of life for each of these.
    pub(super) async fn beat(&mut self, subjects: Vec<Subject>) {
        for subject in subjects {
            self.publish(subject, BEAT).await;
        }
    }

    /// What a lost connection may have swallowed, once more.
    pub(super) async fn send_again(&mut self) {
        self.past.recall(Instant::now());
        self.question = None;
        let answers: Vec<(Subject, Bytes)> = self
            .unconfirmed
            .iter()
            .map(|answer| (answer.reply.clone(), body(answer.fate)))
            .collect();
        for (reply, body) in answers {
            self.last = Some(reply.clone());
            self.publish(reply, body).await;
        }
        self.ask();
    }

    /// The consumer is another one: what was answered to the one before is over with it.
    pub(super) fn forget(&mut self) {
        self.unconfirmed.clear();
        self.returned.clear();
        (self.question, self.last) = (None, None);
    }

    /// Asks behind the answers that were sent, unless a question is on its way.
    fn ask(&mut self) {
        if self.question.is_some() {
            return;
        }
        let Some(subject) = self.last.take() else { return };
        let client = Arc::clone(&self.client);
        let question = async move {
            let has_arrived = client.request(subject, BEAT).await.is_ok();
            if !has_arrived {
                tokio::time::sleep(PAUSE).await;
            }
            has_arrived
        };
        self.question = Some((Box::pin(question), self.unconfirmed.len()));
    }

    /// Waits for the answer to a question; for ever when there is none.
    ///
    /// # Cancel safety
    /// Cancelling loses nothing.
    pub(super) async fn confirmed(&mut self) -> bool {
        let Some((question, count)) = &mut self.question else {
            return std::future::pending().await;
        };
        let has_arrived = question.await;
        let count = *count;
        self.question = None;
        if has_arrived {
            let had = self.unconfirmed.len();
            self.unconfirmed.drain(..count);
            self.unconfirmed.shrink_to(room_after(self.unconfirmed.capacity(), had));
        } else {
            self.last = self
                .last
                .take()
                .or_else(|| self.unconfirmed.back().map(|answer| answer.reply.clone()));
        }
        self.ask();
        has_arrived
    }

    /// Waits until nothing is unconfirmed; whether that was so in time.
    pub(super) async fn all_confirmed(&mut self, patience: Duration) -> bool {
        let wait = async {
            self.ask();
            while self.question.is_some() {
                self.confirmed().await;
            }
        };
        tokio::time::timeout(patience, wait).await.is_ok()
    }

    async fn publish(&mut self, subject: Subject, body: Bytes) {
        if let Err(error) = self.client.publish(subject, body).await {
            tracing::debug!(%error, "an answer was not sent");
        }
    }
}

const fn body(fate: Fate) -> Bytes {
    match fate {
        Fate::Done => DONE,
        Fate::Given => GIVEN,
        Fate::Back => BACK,
    }
}
