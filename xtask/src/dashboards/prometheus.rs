//! Questions to a Prometheus on this machine.

use std::collections::BTreeMap;

use serde::Deserialize;

use xtask_base::http::{escaped, get};
use xtask_base::process::Result;

/// The server on a port of the loopback address.
pub(super) struct Prometheus {
    pub(super) port: u16,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Found {
    result: Vec<Series>,
}

/// One series: its labels, and the one value of an instant or those of a range. A value is a time
/// and a text.
#[derive(Deserialize)]
pub(super) struct Series {
    pub(super) metric: BTreeMap<String, String>,
    value: Option<(f64, String)>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

#[derive(Deserialize)]
struct Alerts {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
pub(super) struct Alert {
    pub(super) labels: BTreeMap<String, String>,
    state: String,
}

impl Prometheus {
    pub(super) fn is_ready(&self) -> bool {
        get(self.port, "/-/ready").is_ok()
    }

    /// What a query says now.
    pub(super) fn query(&self, query: &str) -> Result<Vec<Series>> {
        self.found(&format!("/api/v1/query?query={}", escaped(query)))
    }

    /// What a query has said between two times, in seconds, at each second.
    pub(super) fn range(&self, query: &str, from: u64, to: u64) -> Result<Vec<Series>> {
        self.found(&format!(
            "/api/v1/query_range?query={}&start={from}&end={to}&step=1",
            escaped(query)
        ))
    }

    /// The alerts that fire.
    pub(super) fn firing(&self) -> Result<Vec<Alert>> {
        let answer: Answer<Alerts> = serde_json::from_str(&get(self.port, "/api/v1/alerts")?)?;
        Ok(answer.data.alerts.into_iter().filter(|alert| alert.state == "firing").collect())
    }

    fn found(&self, path: &str) -> Result<Vec<Series>> {
        Ok(serde_json::from_str::<Answer<Found>>(&get(self.port, path)?)?.data.result)
    }
}

impl Series {
    /// The times and values that are numbers.
    pub(super) fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        let numbers = self
            .value
            .iter()
            .chain(&self.values)
            .map(|(at, value)| (*at, value.parse().unwrap_or(f64::NAN)));
        numbers.filter(|(_, value): &(f64, f64)| value.is_finite())
    }
}

impl Alert {
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::Series;

    #[test]
    fn what_is_no_number_is_no_point() {
        let series = |text: &str| serde_json::from_str::<Series>(text).expect("valid");
        let points = |text: &str| series(text).points().collect::<Vec<_>>();
        assert_eq!(points(r#"{"metric":{},"value":[1.5,"2"]}"#), [(1.5, 2.0)]);
        assert_eq!(
            points(r#"{"metric":{},"values":[[1,"NaN"],[2,"0.5"],[3,"+Inf"]]}"#),
            [(2.0, 0.5)]
        );
    }
}
