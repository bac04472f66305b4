//! The page `docs/metrics.md`, made from the catalogue.

use super::{
    Label, Metric, MetricKind, MetricScope, NAMED_TOPICS, OTHER_TOPIC, SECONDS_BUCKETS, all,
};
use std::fmt::Write as _;

const HEAD: &str = r#"<!-- Generated: cargo xtask pages -->

# Metrics

The bus records through the [`metrics`](https://docs.rs/metrics) facade. The application installs a recorder, **before** the
bus connects: handles are bound once, as the bus and its pool are made, and one bound without a recorder records nothing, for
good. A message costs no look-up.

```rust,no_run
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

let page = PrometheusBuilder::new()
    .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &buslane::metrics::SECONDS_BUCKETS)?
    .install_recorder()?;
// Every few seconds, or a busy bus fills the memory with samples:
page.run_upkeep();
println!("{}", page.render());
```

Without buckets the exporter makes summaries, which Prometheus cannot add up over instances.

## Names

`{backend}_eventbus_{name}` for the bus, `{backend}_eventbus_{pool}_pool_{name}` for the pool that runs its lanes; `backend` is
`memory`, `kafka` or `nats`, `pool` is `keyed` or `actor`. Names do not depend on client ids, groups or the number of
instances. Several buses of one backend in one process share their series: counters add up; of a gauge that is set, the last
one counts.

`buslane::metrics::all()` is this list as values.
"#;

/// The page, as markdown.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = HEAD.to_owned();
    table(&mut page, "The bus", MetricScope::Bus);
    table(&mut page, "The pool", MetricScope::Pool);
    bounds(&mut page);
    otel(&mut page);
    page
}

fn table(page: &mut String, title: &str, scope: MetricScope) {
    let _ = writeln!(
        page,
        "\n## {title}\n\n| name | kind | unit | labels | meaning |\n|---|---|---|---|---|"
    );
    for metric in all().filter(|metric| metric.scope == scope) {
        let Metric { name, kind, unit, help, .. } = metric;
        let labels = metric.labels.iter().map(label).collect::<Vec<_>>().join(" ");
        let _ = writeln!(
            page,
            "| `{name}` | {} | {} | {labels} | {help} |",
            kind.as_str(),
            unit.as_str()
        );
    }
}

fn label(label: &Label) -> String {
    match label {
        Label::OneOf(name, values) => format!("`{name}`: {}", values.join(", ")),
        Label::Topic => "`topic`".to_owned(),
        Label::Partition => "`topic`, `partition`".to_owned(),
    }
}

fn bounds(page: &mut String) {
    let total = |of: &dyn Fn(&Metric) -> bool| {
        all().filter(|metric| of(metric)).map(series_on_a_page).sum::<usize>()
    };
    let is_single = |metric: &Metric| !metric.is_per_topic() && !metric.is_per_partition();
    let single = |scope| total(&|metric| is_single(metric) && metric.scope == scope);
    let _ = write!(
        page,
        "
## How many series there are

A bus has {bus} series and its pool {pool}, each of their histograms with {buckets} buckets counted in, at most {per_topic} more for each topic, and
{per_partition} more for each partition that the process has read. There is no label for a key, a message, a worker or an instance.

A topic counts by its name if the bus subscribes to it or publishes to it: a subscription binds what is read and handled, the
first publish what is published. The first {topics} topics of a bus have series of their own; all further ones count under
`topic=\"{other}\"`, so a publisher with endless topic names makes no endless series: {most} series at most.

A partition that leaves keeps its series, at 0, until the recorder forgets them (`idle_timeout` of the exporter): so their bound is
{per_partition} x topics x partitions.
",
        bus = single(MetricScope::Bus),
        pool = single(MetricScope::Pool),
        per_topic = total(&Metric::is_per_topic),
        per_partition = total(&Metric::is_per_partition),
        most = total(&Metric::is_per_topic) * (NAMED_TOPICS + 1),
        topics = NAMED_TOPICS,
        other = OTHER_TOPIC,
        buckets = SECONDS_BUCKETS.len() + 1,
    );
}

/// A histogram has a series for each bucket, the one without a bound included, a sum and a count.
fn series_on_a_page(metric: &Metric) -> usize {
    match metric.kind {
        MetricKind::Histogram => metric.series() * (SECONDS_BUCKETS.len() + 3),
        MetricKind::Counter | MetricKind::Gauge => metric.series(),
    }
}

fn otel(page: &mut String) {
    page.push_str(
        "
## OpenTelemetry

What [OpenTelemetry's conventions for messaging](https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/) (status: development) call the same things. `messaging.system` is the
backend. The conventions want a topic on each of them: `messaging.destination.name` is the label `topic` here.

| here | there |
|---|---|
",
    );
    for metric in all() {
        if let Some(name) = metric.otel {
            let _ = writeln!(page, "| `{}` | `{name}` |", metric.name);
        }
    }
}
