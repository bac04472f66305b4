//! A roll-back as it went: the share of the keys on actors, and p99 of both pools, over time. From
//! the report that `order-service --rollout PLAN --inject FAULT@PERCENT --report FILE` writes.

use serde::Deserialize;
use xtask_base::plot::ceiling;
use xtask_base::process::Result;

use super::Source;
use super::sheet::{Anchor, LEFT, RIGHT, Sheet, line};

pub(super) const FILE: &str = "rollback.json";

/// The plots of both panels begin and end here.
const BEGIN: f64 = LEFT + 52.0;
const END: f64 = RIGHT - 118.0;
/// Top and bottom of the panels.
const SHARE: (f64, f64) = (148.0, 248.0);
const LATENCY: (f64, f64) = (310.0, 450.0);
/// Seconds for which a stage is too young for a p99.
const YOUNG: f64 = 0.5;
/// Between two labels of the time axis, in seconds.
const TICK: u32 = 5;

/// The report. The others of its keys are not drawn.
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    rollout: Rollout,
}

#[derive(Debug, Deserialize)]
struct Rollout {
    inject: Option<String>,
    stages: Vec<Stage>,
    seconds_to_settle: Option<f64>,
    rollbacks: Vec<RollBack>,
    samples: Vec<Sample>,
}

#[derive(Debug, Deserialize)]
struct Stage {
    seconds: f64,
    percent: f64,
}

#[derive(Debug, Deserialize)]
struct RollBack {
    seconds: f64,
    percent: f64,
    breach: Option<Breach>,
}

#[derive(Debug, Deserialize)]
struct Breach {
    trigger: String,
    actor: f64,
    baseline: f64,
    limit: f64,
}

#[derive(Debug, Deserialize)]
struct Sample {
    seconds: f64,
    actor_percent: f64,
    keyed_p99_ms: Option<f64>,
    actor_p99_ms: Option<f64>,
}

/// Seconds and values as places in a panel.
struct Plot {
    seconds: f64,
    most: f64,
    panel: (f64, f64),
}

impl Plot {
    fn x(&self, seconds: f64) -> f64 {
        BEGIN + seconds / self.seconds * (END - BEGIN)
    }

    fn y(&self, value: f64) -> f64 {
        let (top, bottom) = self.panel;
        bottom - value / self.most * (bottom - top)
    }

    fn grid(&self, sheet: &mut Sheet, label: impl Fn(f64) -> String) {
        for share in [0.0, 0.5, 1.0] {
            let value = share * self.most;
            sheet.path(&format!("M{BEGIN} {:.1}H{END}", self.y(value)), "grid");
            let at = (BEGIN - 8.0, self.y(value) + 4.0);
            sheet.text(at, "small", Anchor::End, &label(value));
        }
    }
}

/// Draws the run. It must have been rolled back once, by its guard, for the latency.
pub(super) fn draw(report: &Report, source: &Source) -> Result<String> {
    let Rollout { inject, stages, seconds_to_settle, rollbacks, samples } = &report.rollout;
    let ([back], Some(last)) = (rollbacks.as_slice(), samples.last()) else {
        return Err(format!("{FILE}: needs samples and one roll-back").into());
    };
    let breach = back
        .breach
        .as_ref()
        .filter(|breach| breach.trigger == "latency")
        .ok_or_else(|| format!("{FILE}: needs a roll-back for the latency"))?;
    let (fault, from) = inject
        .as_ref()
        .and_then(|inject| inject.split_once('@'))
        .and_then(|(fault, from)| Some((fault, from.parse::<f64>().ok()?)))
        .ok_or_else(|| format!("{FILE}: needs a run with --inject"))?;
    let begun = stages
        .iter()
        .find(|stage| stage.percent >= from)
        .map(|stage| stage.seconds)
        .ok_or_else(|| format!("{FILE}: no stage of {from} %"))?;

    let after = back.seconds - begun;
    let mut sheet =
        Sheet::new(&format!("A rollout goes wrong, and goes back by itself after {after:.1} s"));
    let Breach { actor, baseline, limit, .. } = breach;
    let slow = match fault.split_once(':') {
        Some(("slow", percent)) => format!("handlers on actors take {percent} % longer"),
        _ => format!("the fault `{fault}` begins"),
    };
    let settled = seconds_to_settle.map_or(String::new(), |seconds| {
        format!(" Every key was back {:.0} ms later.", seconds * 1e3)
    });
    for (line, y) in [
        (
            format!(
                "With {} % of the keys on actors, {slow}. The guard's reason to go back:",
                back.percent
            ),
            64.0,
        ),
        (
            format!(
                "p99 is {actor:.1} ms on actors and {baseline:.1} ms on keyed workers; the limit is \
                 {limit:.1} ms.{settled}"
            ),
            83.0,
        ),
    ] {
        sheet.text((LEFT, y), "note", Anchor::Start, &line);
    }

    let share = Plot { seconds: last.seconds, most: 100.0, panel: SHARE };
    sheet.text((LEFT, SHARE.0 - 22.0), "head", Anchor::Start, "Keys on actors");
    share.grid(&mut sheet, |value| format!("{value:.0} %"));
    stages_of(&mut sheet, &share, stages);

    let values = samples.iter().flat_map(|sample| [sample.keyed_p99_ms, sample.actor_p99_ms]);
    let most = ceiling(values.flatten().fold(0.0, f64::max));
    let latency = Plot { seconds: last.seconds, most, panel: LATENCY };
    let head = "p99 from acceptance to outcome";
    sheet.text((LEFT, LATENCY.0 - 22.0), "head", Anchor::Start, head);
    latency.grid(&mut sheet, |value| format!("{value:.0} ms"));
    latencies(&mut sheet, &latency, stages, samples);

    for (seconds, label, anchor, gap) in [
        (begun, "the fault begins", Anchor::End, -6.0),
        (back.seconds, "the guard rolls back", Anchor::Start, 6.0),
    ] {
        let x = share.x(seconds);
        sheet.path(&format!("M{x:.1} {:.1}V{:.1}", SHARE.0 - 34.0, LATENCY.1), "mark");
        sheet.text((x + gap, SHARE.0 - 22.0), "note", anchor, label);
    }
    let mut second = 0;
    while f64::from(second) <= last.seconds {
        let at = (share.x(f64::from(second)), LATENCY.1 + 18.0);
        sheet.text(at, "small", Anchor::Middle, &format!("{second} s"));
        second += TICK;
    }
    let command = "cargo run --release -p order-service -- --rollout 10,50,100 --inject slow@50";
    Ok(sheet.finish(LATENCY.1 + 78.0, &source.lines(command)))
}

/// The steps of the share, with their percentages. A change takes milliseconds.
fn stages_of(sheet: &mut Sheet, plot: &Plot, stages: &[Stage]) {
    let mut points = vec![(plot.x(0.0), plot.y(0.0))];
    for (number, stage) in stages.iter().enumerate() {
        let before = points[points.len() - 1].1;
        let (x, y) = (plot.x(stage.seconds), plot.y(stage.percent));
        points.extend([(x, before), (x, y)]);
        let end = stages.get(number + 1).map_or(END, |next| plot.x(next.seconds));
        let label = format!("{} %", stage.percent);
        sheet.text((f64::midpoint(x, end), y - 7.0), "head", Anchor::Middle, &label);
    }
    points.push((END, points[points.len() - 1].1));
    let edge = line(points.iter().copied());
    sheet.path(&format!("{edge}V{:.1}H{BEGIN}Z", plot.panel.1), "area");
    sheet.path(&edge, "edge");
}

/// Both lines, with their names at their ends. The guard's window begins anew with each stage, so a
/// line has a gap there, until the window holds enough messages for a p99.
fn latencies(sheet: &mut Sheet, plot: &Plot, stages: &[Stage], samples: &[Sample]) {
    type Figure = fn(&Sample) -> Option<f64>;
    let pools: [(&str, &str, Figure); 2] = [
        ("keyed workers", "keyed", |sample| sample.keyed_p99_ms),
        // What is left on actors without keys there is a few messages that still run.
        ("actors", "actor", |sample| sample.actor_p99_ms.filter(|_| sample.actor_percent > 0.0)),
    ];
    let is_new = |sample: &Sample| {
        let age = |stage: &Stage| sample.seconds - stage.seconds;
        stages.iter().any(|stage| (0.0..YOUNG).contains(&age(stage)))
    };
    for (name, class, figure) in pools {
        let points: Vec<Option<(f64, f64)>> = samples
            .iter()
            .map(|sample| Some((sample.seconds, figure(sample).filter(|_| !is_new(sample))?)))
            .map(|point| point.map(|(seconds, value)| (plot.x(seconds), plot.y(value))))
            .collect();
        for part in points.split(Option::is_none) {
            sheet.path(&line(part.iter().copied().flatten()), &format!("{class}-line"));
        }
        if let Some((x, y)) = points.iter().rev().find_map(|point| *point) {
            // The end of the actors' line is beside the mark of the roll-back.
            let (at, anchor) = if x < END - 1.0 {
                ((x, y - 10.0), Anchor::End)
            } else {
                ((x + 8.0, y + 4.0), Anchor::Start)
            };
            sheet.text(at, "head", anchor, name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, Source, draw};

    fn report(trigger: &str) -> Report {
        let text = format!(
            r#"{{"rollout": {{
                "inject": "slow:300@50",
                "stages": [
                    {{"seconds": 5, "percent": 10}},
                    {{"seconds": 10, "percent": 50}},
                    {{"seconds": 15, "percent": 0}}
                ],
                "seconds_to_settle": 0.039,
                "rollbacks": [{{
                    "seconds": 15, "percent": 50, "by": "guard",
                    "breach": {{"trigger": "{trigger}", "actor": 42.0, "baseline": 11.0, "limit": 13.2}}
                }}],
                "samples": [
                    {{"seconds": 4, "actor_percent": 0, "keyed_p99_ms": 10.0, "actor_p99_ms": null}},
                    {{"seconds": 14, "actor_percent": 50, "keyed_p99_ms": 11.0, "actor_p99_ms": 42.0}},
                    {{"seconds": 17, "actor_percent": 0, "keyed_p99_ms": 10.0, "actor_p99_ms": 41.0}}
                ]
            }}}}"#
        );
        serde_json::from_str(&text).expect("a report")
    }

    fn source() -> Source {
        Source { conditions: "two cores".to_owned(), date: "November 2026".to_owned() }
    }

    #[test]
    fn a_roll_back_is_shown_with_its_reason() {
        let svg = draw(&report("latency"), &source()).expect("drawn");
        for text in [
            "goes back by itself after 5.0 s",
            "handlers on actors take 300 % longer",
            "42.0 ms on actors and 11.0 ms on keyed workers; the limit is 13.2 ms",
            "back 39 ms later",
            ">the guard rolls back</text>",
            ">50 ms</text>",
        ] {
            assert!(svg.contains(text), "{text}: {svg}");
        }
    }

    #[test]
    fn another_reason_is_refused() {
        assert!(draw(&report("errors"), &source()).is_err());
    }
}
