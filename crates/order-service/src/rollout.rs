//! A rollout in fast motion: windows of seconds, the guard's limits unchanged. Records how it went,
//! and judges whether it went as asked.

use std::sync::Arc;
use std::time::Duration;

use buslane::config::RolloutConfig;
use buslane::rollout::{Advance, Plan, RollBack, RolloutEvent};
use buslane::{Config, EventBus};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::faults::{Illness, Injection, Patients};
use super::progress::Teller;

/// Who is said to have begun the plan.
const BY: &str = "order_service";
/// Messages flow for so long before the plan begins.
const WARM_UP: Duration = Duration::from_secs(5);
/// And for so long after its end.
const AFTER: Duration = Duration::from_secs(2);

/// Where nobody has configured it: windows of 6 s with 300 messages, a look every 500 ms, the next
/// stage with p99 within +15 %, and memory that leaks is borne for 3 s.
pub(crate) fn hasten(config: &mut Config, inject: Option<Injection>) {
    if config.rollout == RolloutConfig::default() {
        config.rollout.window = Duration::from_secs(6);
        config.rollout.min_messages = 300;
        config.rollout.check_interval = Duration::from_millis(500);
        config.rollout.advance_p99_increase = 0.15;
        if inject.is_some_and(|inject| inject.illness == Illness::Leak) {
            config.rollout.memory_patience = Duration::from_secs(3);
        }
    }
}

/// A rollout that is being watched.
pub(crate) struct Show {
    task: JoinHandle<Story>,
    is_over: CancellationToken,
    inject: Option<Injection>,
    patients: Arc<Patients>,
}

impl Show {
    /// Begins the plan as soon as messages have come for a while, and cancels `stop` when the story
    /// is over.
    pub(crate) fn begin(
        bus: &EventBus,
        plan: Plan,
        inject: Option<Injection>,
        patients: &Arc<Patients>,
        teller: Teller,
        stop: CancellationToken,
    ) -> Self {
        let is_over = CancellationToken::new();
        let plan = plan.advancing(Advance::Automatic);
        let watched =
            watch(bus.clone(), plan, inject, Arc::clone(patients), teller, stop, is_over.clone());
        Self { task: tokio::spawn(watched), is_over, inject, patients: Arc::clone(patients) }
    }

    /// How it went. Call it when nothing is handled any more.
    pub(crate) async fn ended(self) -> Option<Story> {
        self.is_over.cancel();
        let mut story = self.task.await.ok()?;
        let (keys, touched) = self.patients.keys();
        story.judge(self.inject, keys, touched);
        Some(story)
    }
}

async fn watch(
    bus: EventBus,
    plan: Plan,
    inject: Option<Injection>,
    patients: Arc<Patients>,
    teller: Teller,
    stop: CancellationToken,
    is_over: CancellationToken,
) -> Story {
    let (rollout, started) = (bus.rollout(), Instant::now());
    let (mut events, mut story) = (rollout.watch(), Story::new(plan.to_string(), inject));
    let mut begins_at = Some(started + WARM_UP);
    let mut ends_at: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            event = events.next() => {
                let Some(event) = event else { break };
                if let RolloutEvent::PercentChanged { to, .. } = event {
                    patients.stage(to);
                }
                let seconds = started.elapsed().as_secs_f64();
                if let Some(said) = story.hear(seconds, &event) {
                    teller.say(&format!("{seconds:5.1} s  {said}"));
                }
                if story.is_over() && ends_at.is_none() {
                    ends_at = Some(Instant::now() + AFTER);
                }
            }
            () = at(begins_at) => {
                begins_at = None;
                if let Err(error) = rollout.begin(plan.clone(), BY) {
                    teller.say(&format!("the plan cannot begin: {error}"));
                    stop.cancel();
                }
            }
            () = at(ends_at) => {
                stop.cancel();
                break;
            }
            () = is_over.cancelled() => break,
        }
    }
    story
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// What the report says of it. Others read it: keys are never renamed.
#[derive(Debug, Serialize)]
pub(crate) struct Story {
    plan: String,
    inject: Option<String>,
    stages: Vec<Reached>,
    rollbacks: Vec<WentBack>,
    /// The plan came to its end.
    ended: bool,
    /// Seconds from the last roll-back until every key was back.
    seconds_to_settle: Option<f64>,
    keys: usize,
    keys_touched: usize,
    share_of_keys_touched: f64,
    /// What was not as asked.
    pub(crate) problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Reached {
    seconds: f64,
    percent: u8,
}

#[derive(Debug, Serialize)]
struct WentBack {
    seconds: f64,
    #[serde(flatten)]
    roll_back: RollBack,
}

impl Story {
    pub(crate) fn new(plan: String, inject: Option<Injection>) -> Self {
        Self {
            plan,
            inject: inject.map(|inject| inject.to_string()),
            stages: Vec::new(),
            rollbacks: Vec::new(),
            ended: false,
            seconds_to_settle: None,
            keys: 0,
            keys_touched: 0,
            share_of_keys_touched: 0.0,
            problems: Vec::new(),
        }
    }

    /// Takes in what has happened, and says it.
    pub(crate) fn hear(&mut self, seconds: f64, event: &RolloutEvent) -> Option<String> {
        match event {
            RolloutEvent::PercentChanged { to, by, .. } => {
                self.stages.push(Reached { seconds, percent: *to });
                Some(format!("{to} % of the keys on actors, by {by}"))
            }
            RolloutEvent::Moved { slots, took, .. } => {
                if !self.rollbacks.is_empty() {
                    self.seconds_to_settle = Some(took.as_secs_f64());
                }
                Some(format!("{slots} slots moved in {:.0} ms", took.as_secs_f64() * 1000.0))
            }
            RolloutEvent::SlotStuck { slot } => Some(format!("slot {slot} stays for now")),
            RolloutEvent::RolledBack(roll_back) => {
                let said = format!("rolled back {roll_back}");
                self.rollbacks.push(WentBack { seconds, roll_back: roll_back.clone() });
                Some(said)
            }
            RolloutEvent::PlanEnded => {
                self.ended = true;
                Some("the plan has ended".to_owned())
            }
            _ => None,
        }
    }

    /// Whether there is nothing more to come.
    pub(crate) const fn is_over(&self) -> bool {
        self.ended || self.has_settled()
    }

    const fn has_settled(&self) -> bool {
        self.seconds_to_settle.is_some()
    }

    /// Compares it with what was asked for, and keeps what is wrong with it.
    #[allow(clippy::cast_precision_loss, reason = "a number of keys")]
    pub(crate) fn judge(&mut self, inject: Option<Injection>, keys: usize, touched: usize) {
        (self.keys, self.keys_touched) = (keys, touched);
        let count = keys.max(1) as f64;
        self.share_of_keys_touched = touched as f64 / count;
        let mut problems = Vec::new();
        match (inject, self.rollbacks.as_slice()) {
            (None, []) if !self.ended => {
                problems.push("the plan did not come to its end while messages came".to_owned())
            }
            (None, []) => {}
            (None, [first, ..]) => {
                problems.push(format!("rolled back for no reason: {}", first.roll_back))
            }
            (Some(inject), []) => {
                problems.push(format!("no roll-back, although there was {inject}"))
            }
            (Some(inject), [first, more @ ..]) => {
                let RollBack { breach, percent, .. } = &first.roll_back;
                let expected = inject.illness.trigger();
                let trigger = breach.as_ref().map(|breach| breach.trigger);
                if trigger != Some(expected) {
                    let trigger = trigger
                        .map_or_else(|| "somebody".to_owned(), |trigger| trigger.to_string());
                    problems.push(format!("rolled back by {trigger}, not by {expected}"));
                }
                if *percent < inject.from {
                    problems.push(format!("rolled back at {percent} %, before {inject} began"));
                }
                if touched == 0 {
                    problems.push(format!("{inject} has touched no key"));
                }
                // How far the share of so many keys may be from that of the slots by chance: four
                // standard errors.
                let share = f64::from(*percent) / 100.0;
                let most = share + 4.0 * (share * (1.0 - share) / count).sqrt();
                if self.share_of_keys_touched > most {
                    let found = self.share_of_keys_touched * 100.0;
                    problems.push(format!("{found:.1} % of the keys were touched at {percent} %"));
                }
                if !self.has_settled() {
                    problems.push("not every key came back".to_owned());
                }
                if !more.is_empty() {
                    problems.push(format!("rolled back {} times", more.len() + 1));
                }
            }
        }
        self.problems = problems;
    }

    /// Lines of the table.
    pub(crate) fn rows(&self) -> Vec<(&'static str, String)> {
        let stages = self
            .stages
            .iter()
            .map(|stage| format!("{} % at {:.1} s", stage.percent, stage.seconds));
        let mut rows = vec![
            (
                "rollout",
                format!(
                    "{}{}",
                    self.plan,
                    self.inject.as_ref().map_or(String::new(), |what| format!(" with {what}"))
                ),
            ),
            ("stages", stages.collect::<Vec<_>>().join(", ")),
        ];
        for WentBack { seconds, roll_back } in &self.rollbacks {
            rows.push(("rolled back", format!("at {seconds:.1} s {roll_back}")));
        }
        if let Some(seconds) = self.seconds_to_settle {
            rows.push(("every key back after", format!("{:.0} ms", seconds * 1000.0)));
        }
        if self.inject.is_some() {
            let share = self.share_of_keys_touched * 100.0;
            rows.push((
                "keys touched",
                format!("{} of {} ({share:.1} %)", self.keys_touched, self.keys),
            ));
        }
        rows
    }
}
