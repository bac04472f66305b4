//! The first panels of the dashboard as one SVG, with the values that Prometheus has scraped.
//! Grafana draws them more finely.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::panels::Panel;
use super::prometheus::Prometheus;
use xtask_base::plot::{self, Line};
use xtask_base::process::Result;

const PANELS: usize = 6;

/// Asks for the last `time` of the order services, and draws it.
pub(super) fn of(prometheus: &Prometheus, panels: &[Panel], time: Duration) -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let from = now.saturating_sub(time.as_secs());
    let mut drawn = Vec::new();
    for panel in panels.iter().take(PANELS) {
        let mut lines = Vec::new();
        for target in &panel.targets {
            let query = target.expr.replace("instance=~\".*\"", "scenario=~\"order-service.*\"");
            for series in prometheus.range(&query, from, now)? {
                let points = series.points().map(|(at, value)| (at - from as f64, value)).collect();
                lines.push(Line { name: legend(&target.legend_format, &series.metric), points });
            }
        }
        drawn.push(plot::Panel { title: &panel.title, unit: panel.unit(), lines, marks: &[] });
    }
    plot::render(&drawn, time.as_secs_f64())
}

/// `{{topic}} lag` with the labels of a series.
fn legend(format: &str, labels: &std::collections::BTreeMap<String, String>) -> String {
    labels.iter().fold(format.to_owned(), |text, (name, value)| {
        text.replace(&format!("{{{{{name}}}}}"), value)
    })
}

#[cfg(test)]
mod tests {
    use super::legend;

    #[test]
    fn a_line_has_the_name_of_its_series() {
        let labels = [("topic".to_owned(), "orders".to_owned())].into();
        assert_eq!(legend("{{topic}}, all", &labels), "orders, all");
    }
}
