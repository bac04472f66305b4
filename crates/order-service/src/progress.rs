//! Progress on stderr: a live display on a terminal, else a plain line a second.

use super::options::{Options, Role};
use super::report::{Counters, Counts, percentile_ms};
use buslane::{EventBus, rollout::WindowSide};
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};
use tracing::Level;
use tracing_subscriber::{filter::Targets, prelude::*};

const LINE_EVERY: Duration = Duration::from_secs(1);
/// The time over which the rate is taken.
const RATE_OVER: Duration = Duration::from_secs(1);

pub(crate) struct Display {
    /// Hidden when there is no terminal.
    bar: ProgressBar,
    is_terminal: bool,
    role: Role,
    has_rollout: bool,
    total: u64,
    started: Instant,
    last_line: Instant,
    recent: VecDeque<(Instant, u64)>,
    p99_ms: f64,
}

impl Display {
    pub(crate) fn new(total: u64, options: &Options) -> Self {
        let (role, has_rollout) = (options.role, options.rollout.is_some());
        let is_terminal = io::stderr().is_terminal();
        let target = if is_terminal {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let (bar, template) = if role.publishes() {
            (
                ProgressBar::new(total),
                "{elapsed_precise} {wide_bar} {percent:>3} %\n{prefix}\n{msg}",
            )
        } else {
            (ProgressBar::no_length(), "{elapsed_precise} {spinner}\n{prefix}\n{msg}")
        };
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_draw_target(target);
        bar.set_style(style);
        let now = Instant::now();
        Self {
            bar,
            is_terminal,
            role,
            has_rollout,
            total,
            started: now,
            last_line: now,
            recent: VecDeque::new(),
            p99_ms: 0.0,
        }
    }

    /// Shows the present figures.
    pub(crate) fn tick(&mut self, bus: &EventBus, counters: &Counters) {
        let (now, counts) = (Instant::now(), counters.counts());
        let progress = if self.role.consumes() { counts.ended() } else { counts.published };
        self.recent.push_back((now, progress));
        while self.recent.len() > 2 && now - self.recent[1].0 >= RATE_OVER {
            self.recent.pop_front();
        }
        let line_is_due = now - self.last_line >= LINE_EVERY;
        if line_is_due {
            self.last_line = now;
            self.p99_ms = percentile_ms(&counters.latencies(), 0.99);
        }
        let [first, second] = self.texts(bus, &counts, progress, now);
        if self.is_terminal {
            self.bar.set_position(progress);
            self.bar.set_prefix(first);
            self.bar.set_message(second);
            self.bar.tick();
        } else if line_is_due {
            eprintln!("{:5.1} s  {first}  {second}", self.started.elapsed().as_secs_f64());
        }
    }

    fn texts(&self, bus: &EventBus, counts: &Counts, progress: u64, now: Instant) -> [String; 2] {
        let stats = bus.pool_stats();
        let rate = self.recent.front().map_or(0, |(then, before)| {
            let nanos = (now - *then).as_nanos().max(1);
            u64::try_from(u128::from(progress - before) * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
        });
        let of = if self.role.publishes() {
            format!(" of {}", HumanCount(self.total))
        } else {
            String::new()
        };
        let in_flight = match self.role {
            Role::All => counts.published.saturating_sub(counts.ended()),
            Role::Publish => 0,
            Role::Consume => stats.open as u64,
        };
        [
            format!(
                "{}{of} messages  {}/s  p99 {:.1} ms",
                HumanCount(progress),
                HumanCount(rate),
                self.p99_ms
            ),
            format!(
                "in flight {}  retries {}  dead letters {}  restarts {}  {} pool{}",
                HumanCount(in_flight),
                HumanCount(stats.retried),
                counts.dead_lettered,
                stats.restarts,
                bus.status().pool,
                if self.has_rollout { format!("\n{}", rollout_line(bus)) } else { recovery(bus) }
            ),
        ]
    }

    /// A handle that prints lines above the display.
    pub(crate) fn printer(&self) -> impl Fn(&str) + Send + Sync + use<> {
        let bar = self.bar.clone();
        move |text| bar.suspend(|| eprintln!("{text}"))
    }

    /// Prints a line that stays.
    pub(crate) fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }

    /// Ends the display with the last figures visible.
    pub(crate) fn finish(&self) {
        if self.is_terminal {
            self.bar.abandon();
        }
    }
}

/// The limits of recovery mode, while it is on.
fn recovery(bus: &EventBus) -> String {
    let status = bus.recovery().status();
    match (status.keys, status.per_second) {
        (None, _) => String::new(),
        (Some(_), None) => format!("  recovery {}", status.phase),
        (Some(_), Some(per_second)) => {
            format!("  recovery {}, {}/s", status.phase, HumanCount(per_second.into()))
        }
    }
}

/// Shows warnings of the bus above the display. Failures of single messages are intended and only
/// counted; `verbose` shows them too, and the level `info`.
pub(crate) fn install_log(display: &Display, verbose: bool) {
    let filter = if verbose {
        Targets::new().with_default(Level::INFO)
    } else {
        let off = tracing::level_filters::LevelFilter::OFF;
        Targets::new()
            .with_default(Level::WARN)
            .with_target("buslane::flow::envelope", off)
            .with_target("buslane::flow::regular", off)
    };
    let bar = display.bar.clone();
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(move || Above(bar.clone()))
        .with_filter(filter);
    tracing_subscriber::registry().with(layer).init();
}

/// Writes above the display.
struct Above(ProgressBar);

impl Write for Above {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write_all(text)).map(|()| text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One line about both pools during a rollout, the keyed pool first.
fn rollout_line(bus: &EventBus) -> String {
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
