//! A rollout in fast motion: windows of seconds, the guard's limits unchanged. Records how it went,
//! and judges whether it went as asked.

use std::sync::Arc;
use std::time::Duration;

use buslane::config::RolloutConfig;
use buslane::rollout::{Advance, Plan, RollBack, RolloutEvent, RolloutStatus, WindowSide};
use buslane::{Config, EventBus};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::faults::{Defect, DefectiveKeys, Injection};

/// The operator that the plan is attributed to.
const BY: &str = "order_service";
/// Time with messages before the plan begins.
const WARM_UP: Duration = Duration::from_secs(5);
/// Time with messages after its end.
const AFTER: Duration = Duration::from_secs(2);
/// Time between two samples of the report.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);

/// Sets unconfigured values: windows of 6 s with 300 messages, a check every 500 ms, advance with
/// p99 within +15 %, and a memory patience of 3 s.
pub(crate) fn hasten(config: &mut Config, inject: Option<Injection>) {
    if config.rollout == RolloutConfig::default() {
        config.rollout.window = Duration::from_secs(6);
        config.rollout.min_messages = 300;
        config.rollout.check_interval = Duration::from_millis(500);
        config.rollout.advance_p99_increase = 0.15;
        if inject.is_some_and(|inject| inject.defect == Defect::Leak) {
            config.rollout.memory_patience = Duration::from_secs(3);
        }
    }
}

/// A running rollout, and the task that watches it.
pub(crate) struct RolloutRun {
    task: JoinHandle<RolloutHistory>,
    is_over: CancellationToken,
    inject: Option<Injection>,
    defective_keys: Arc<DefectiveKeys>,
}

impl RolloutRun {
    /// Begins the plan after the warm-up, and cancels `stop` when the rollout is over.
    pub(crate) fn begin(
        bus: &EventBus,
        plan: Plan,
        inject: Option<Injection>,
        defective_keys: &Arc<DefectiveKeys>,
        printer: impl Fn(&str) + Send + Sync + 'static,
        stop: CancellationToken,
    ) -> Self {
        let is_over = CancellationToken::new();
        let plan = plan.advancing(Advance::Automatic);
        let watched = watch(
            bus.clone(),
            plan,
            inject,
            Arc::clone(defective_keys),
            printer,
            stop,
            is_over.clone(),
        );
        Self {
            task: tokio::spawn(watched),
            is_over,
            inject,
            defective_keys: Arc::clone(defective_keys),
        }
    }

    /// The history of the rollout. Call it when no handler runs any more.
    pub(crate) async fn ended(self) -> Option<RolloutHistory> {
        self.is_over.cancel();
        let mut history = self.task.await.ok()?;
        let (keys, touched) = self.defective_keys.keys();
        history.judge(self.inject, keys, touched);
        Some(history)
    }
}

async fn watch(
    bus: EventBus,
    plan: Plan,
    inject: Option<Injection>,
    defective_keys: Arc<DefectiveKeys>,
    printer: impl Fn(&str) + Send + Sync,
    stop: CancellationToken,
    is_over: CancellationToken,
) -> RolloutHistory {
    let (rollout, started) = (bus.rollout(), Instant::now());
    let (mut events, mut history) =
        (rollout.watch(), RolloutHistory::new(plan.to_string(), inject));
    let mut begins_at = Some(started + WARM_UP);
    let mut ends_at: Option<Instant> = None;
    let mut samples = interval(SAMPLE_EVERY);
    samples.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            event = events.next() => {
                let Some(event) = event else { break };
                if let RolloutEvent::PercentChanged { to, .. } = event {
                    defective_keys.stage(to);
                }
                let seconds = started.elapsed().as_secs_f64();
                if let Some(said) = history.record(seconds, &event) {
                    printer(&format!("{seconds:5.1} s  {said}"));
                }
                if history.is_over() && ends_at.is_none() {
                    ends_at = Some(Instant::now() + AFTER);
                }
            }
            _ = samples.tick() => {
                history.sample(started.elapsed().as_secs_f64(), &rollout.status());
            }
            () = at(begins_at) => {
                begins_at = None;
                if let Err(error) = rollout.begin(plan.clone(), BY) {
                    printer(&format!("the plan cannot begin: {error}"));
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
    history
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The rollout in the report. Other programs read it: keys are never renamed.
#[derive(Debug, Serialize)]
pub(crate) struct RolloutHistory {
    plan: String,
    inject: Option<String>,
    stages: Vec<Reached>,
    rollbacks: Vec<WentBack>,
    /// Both pools, every half second; `cargo xtask pictures` draws them.
    samples: Vec<Sample>,
    /// Whether the plan reached its end.
    ended: bool,
    /// Seconds from the last roll-back until every key was back.
    seconds_to_settle: Option<f64>,
    keys: usize,
    keys_touched: usize,
    share_of_keys_touched: f64,
    /// Deviations from the request.
    pub(crate) problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Reached {
    seconds: f64,
    percent: u8,
}

/// Both pools at one moment.
#[derive(Debug, Serialize)]
struct Sample {
    seconds: f64,
    /// Share of the hash slots, and so of the keys, that run on actors.
    actor_percent: f64,
    /// Over the guard's window; `None` while it has nothing to compare.
    keyed_p99_ms: Option<f64>,
    actor_p99_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
struct WentBack {
    seconds: f64,
    #[serde(flatten)]
    roll_back: RollBack,
}

impl RolloutHistory {
    pub(crate) fn new(plan: String, inject: Option<Injection>) -> Self {
        Self {
            plan,
            inject: inject.map(|inject| inject.to_string()),
            stages: Vec::new(),
            rollbacks: Vec::new(),
            samples: Vec::new(),
            ended: false,
            seconds_to_settle: None,
            keys: 0,
            keys_touched: 0,
            share_of_keys_touched: 0.0,
            problems: Vec::new(),
        }
    }

    /// Records an event, and returns a line about it.
    pub(crate) fn record(&mut self, seconds: f64, event: &RolloutEvent) -> Option<String> {
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

    /// Records both pools as the guard sees them.
    #[allow(clippy::cast_precision_loss, reason = "there are 1,024 slots")]
    pub(crate) fn sample(&mut self, seconds: f64, status: &RolloutStatus) {
        let p99 = |side: Option<&WindowSide>| side.and_then(|side| side.p99_ms);
        let window = status.window.as_ref();
        self.samples.push(Sample {
            seconds,
            actor_percent: status.slots.on_actor as f64 / status.slots.total as f64 * 100.0,
            keyed_p99_ms: p99(window.and_then(|window| window.keyed.as_ref())),
            actor_p99_ms: p99(window.map(|window| &window.actor)),
        });
    }

    /// Whether the rollout is over.
    pub(crate) const fn is_over(&self) -> bool {
        self.ended || self.has_settled()
    }

    const fn has_settled(&self) -> bool {
        self.seconds_to_settle.is_some()
    }

    /// Compares the history with the request, and keeps the deviations.
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
                let expected = inject.defect.trigger();
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
