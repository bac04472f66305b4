//! Figures beside their limits: measured in turns, judged by medians, one JSON line each.
#![allow(clippy::print_stdout, reason = "the lines are what the programs are for")]

use crate::median;
use serde_json::json;

/// How a figure is judged.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// By itself.
    ValueAtMost(f64),
    /// By itself.
    ValueAtLeast(f64),
    /// As a multiple of its limit.
    RatioAtMost(f64),
    /// As a part of its limit.
    RatioAtLeast(f64),
}

/// Prints figures and remembers whether all were good.
#[derive(Debug)]
pub struct Figures {
    chosen: Vec<String>,
    all_good: bool,
}

impl Figures {
    /// The figures whose names begin with one of `chosen`; all when it is empty.
    #[must_use]
    pub const fn new(chosen: Vec<String>) -> Self {
        Self { chosen, all_good: true }
    }

    /// Whether no figure has fallen short.
    #[must_use]
    pub const fn all_good(&self) -> bool {
        self.all_good
    }

    /// Whether a figure was chosen.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        self.chosen.is_empty() || self.chosen.iter().any(|start| name.starts_with(start.as_str()))
    }

    /// Whether a figure whose name begins so may have been chosen.
    #[must_use]
    pub fn wants_some_of(&self, group: &str) -> bool {
        self.wants(group) || self.chosen.iter().any(|start| start.starts_with(group))
    }

    /// Measures `(value, limit)` in turns, if the figure was chosen, and judges it.
    pub fn figure(
        &mut self,
        turns: usize,
        name: &str,
        target: Target,
        turn: impl FnMut() -> (f64, f64),
    ) {
        if self.wants(name) {
            let turns: Vec<(f64, f64)> = std::iter::repeat_with(turn).take(turns).collect();
            self.judge(name, target, &turns);
        }
    }

    /// Prints the medians of `(value, limit)`, if the figure was chosen. The ratio is the median of
    /// the ratios of the turns.
    pub fn judge(&mut self, name: &str, target: Target, turns: &[(f64, f64)]) {
        if !self.wants(name) {
            return;
        }
        let value = median(turns.iter().map(|turn| turn.0));
        let limit = median(turns.iter().map(|turn| turn.1));
        let ratio = median(turns.iter().map(|turn| turn.0 / turn.1));
        let (pass, target) = match target {
            Target::ValueAtMost(most) => (value <= most, format!("value <= {most}")),
            Target::ValueAtLeast(least) => (value >= least, format!("value >= {least}")),
            Target::RatioAtMost(most) => (ratio <= most, format!("ratio <= {most}")),
            Target::RatioAtLeast(least) => (ratio >= least, format!("ratio >= {least}")),
        };
        let line = json!({
            "name": name, "value": value, "limit": limit, "ratio": ratio, "target": target, "pass": pass
        });
        println!("{line}");
        self.all_good &= pass;
    }
}
