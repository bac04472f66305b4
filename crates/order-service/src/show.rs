//! A rollout in fast motion: the guard's limits as they are, over windows of seconds.

use crate::{
    injection::{Illness, Injection, Patients},
    progress::Teller,
    story::Story,
};
use buslane::{
    Config, EventBus,
    config::RolloutConfig,
    rollout::{Advance, Plan, RolloutEvent, WindowSide},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

/// Who is said to have begun the plan.
const BY: &str = "order_service";
/// Messages flow for so long before the plan begins.
const WARM_UP: Duration = Duration::from_secs(5);
/// And for so long after its end.
const AFTER: Duration = Duration::from_secs(2);
/// Between two samples of the report.
const SAMPLE_EVERY: Duration = Duration::from_millis(500);

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
    let mut samples = interval(SAMPLE_EVERY);
    samples.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
            _ = samples.tick() => {
                story.sample(started.elapsed().as_secs_f64(), &rollout.status());
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

/// Both sides in one line, the keyed pool first.
pub(crate) fn line(bus: &EventBus) -> String {
    let status = bus.rollout().status();
    let stage = match &status.plan {
        Some(plan) => format!("stage {}, {} % ({})", plan.stage + 1, status.percent, plan.advice),
        None => format!("{} %", status.percent),
    };
    let slots = format!("{} slots on actors, {} move", status.slots.on_actor, status.slots.moving);
    let Some(window) = status.window else { return format!("rollout {stage}  {slots}") };
    let sides = [window.keyed.as_ref(), Some(&window.actor)];
    let both = |show: fn(&WindowSide) -> String| {
        sides.map(|side| side.map_or_else(|| "-".to_owned(), show)).join(" / ")
    };
    format!(
        "rollout {stage}  {slots}  keyed / actor: p99 {} ms  errors {} %  restarts {} %",
        both(|side| side.p99_ms.map_or_else(|| "-".to_owned(), |p99| format!("{p99:.1}"))),
        both(|side| format!("{:.1}", side.error_share * 100.0)),
        both(|side| format!("{:.1}", side.restart_share * 100.0)),
    )
}
