//! The queries of the dashboard in `deploy/grafana`, with its variables filled in. What a panel
//! looks like is no matter here.

use serde::Deserialize;

use xtask_base::process::Result;

/// How far back a rate looks while a check runs; Grafana chooses it by its own.
const RATE_INTERVAL: &str = "15s";

#[derive(Deserialize)]
struct Dashboard {
    panels: Vec<Panel>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Panel {
    pub(super) title: String,
    #[serde(default)]
    pub(super) targets: Vec<Target>,
    #[serde(default)]
    field_config: serde_json::Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Target {
    pub(super) expr: String,
    pub(super) legend_format: String,
}

impl Panel {
    /// Grafana's name of the unit.
    pub(super) fn unit(&self) -> &str {
        self.field_config["defaults"]["unit"].as_str().unwrap_or_default()
    }
}

/// The panels that show something, for buses on the embedded broker.
pub(super) fn parse(text: &str) -> Result<Vec<Panel>> {
    let mut panels = serde_json::from_str::<Dashboard>(text)?.panels;
    panels.retain(|panel| !panel.targets.is_empty());
    for target in panels.iter_mut().flat_map(|panel| &mut panel.targets) {
        let filled = target.expr.replace("${backend}", "memory").replace("$instance", ".*");
        target.expr = filled.replace("$__rate_interval", RATE_INTERVAL);
        if target.expr.contains('$') {
            return Err(format!("a variable that this check does not know: {}", target.expr).into());
        }
    }
    Ok(panels)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn variables_are_filled_in() {
        let of = |expr: &str| {
            let target = serde_json::json!({ "expr": expr, "legendFormat": "x" });
            parse(
                &serde_json::json!({ "panels": [{ "title": "row" }, { "title": "a", "targets": [target] }] })
                    .to_string(),
            )
        };
        let panels =
            of("rate(${backend}_x{instance=~\"$instance\"}[$__rate_interval])").expect("valid");
        assert_eq!((panels.len(), panels[0].title.as_str()), (1, "a"));
        assert_eq!(panels[0].targets[0].expr, "rate(memory_x{instance=~\".*\"}[15s])");
        assert!(of("$other").is_err());
    }
}
