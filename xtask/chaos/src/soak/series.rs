//! What a process's page of metrics shows over time: how far each counter rose, and how high each
//! gauge was. Labels are summed.

use std::collections::BTreeMap;

/// Of one process.
#[derive(Debug, Clone, Default)]
pub(super) struct Page {
    last: BTreeMap<String, f64>,
}

impl Page {
    /// The sum of the metrics whose names end so, on the newest page.
    #[allow(clippy::cast_possible_truncation, reason = "counts are far below 2^53")]
    pub(super) fn sum_of(&self, end: &str) -> u64 {
        let metrics = self.last.iter().filter(|(name, _)| name.ends_with(end));
        metrics.map(|(_, value)| *value as u64).sum()
    }
}

/// Of all processes: what counters gained, and the highest sum of each gauge in one process.
#[derive(Debug, Clone, Default)]
pub(super) struct Moved(BTreeMap<String, f64>);

impl Moved {
    /// Adds the next page of a process.
    pub(super) fn add(&mut self, process: &mut Page, text: &str) {
        let mut kinds: BTreeMap<&str, &str> = BTreeMap::new();
        let mut now: BTreeMap<String, f64> = BTreeMap::new();
        for line in text.lines() {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                kinds.extend(declared.split_once(' '));
                continue;
            }
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let name = series.split('{').next().unwrap_or(series);
            if let Ok(value) = value.parse::<f64>()
                && !name.starts_with('#')
                && !name.ends_with("_bucket")
            {
                *now.entry(name.to_owned()).or_default() += value;
            }
        }
        for (name, value) in &now {
            let moved = self.0.entry(name.clone()).or_default();
            if kinds.get(name.as_str()) == Some(&"gauge") {
                *moved = moved.max(*value);
            } else {
                *moved += (value - process.last.get(name).copied().unwrap_or(0.0)).max(0.0);
            }
        }
        process.last = now;
    }

    pub(super) const fn values(&self) -> &BTreeMap<String, f64> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Moved, Page};

    #[test]
    fn t5_restarts_are_read_from_the_page() {
        let page = "# TYPE kafka_eventbus_actor_pool_actor_restarted_total counter\n\
                    kafka_eventbus_actor_pool_actor_restarted_total 3\nkafka_eventbus_messages_consumed_total 7\n";
        let mut process = Page::default();
        Moved::default().add(&mut process, page);
        assert_eq!(process.sum_of("_actor_restarted_total"), 3);
    }

    #[test]
    fn t5_counters_add_up_over_processes_and_gauges_keep_their_highest() {
        let page = |total: u32, open: u32| {
            format!(
                "# TYPE a_total counter\na_total{{topic=\"x\"}} {total}\na_total{{topic=\"y\"}} 1\n\
                 # TYPE open gauge\nopen {open}\n# TYPE s histogram\ns_bucket{{le=\"1\"}} 9\ns_count 3\n"
            )
        };
        let (mut moved, mut one, mut two) = (Moved::default(), Page::default(), Page::default());
        moved.add(&mut one, &page(2, 7));
        moved.add(&mut one, &page(5, 1));
        moved.add(&mut two, &page(1, 4));
        let values: Vec<_> =
            moved.values().iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(values, [("a_total", 8.0), ("open", 7.0), ("s_count", 6.0)]);
    }
}
