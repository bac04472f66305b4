//! A bus that has one fault, and its metrics over HTTP: what `cargo xtask dashboards` tries the
//! alerts of `deploy/prometheus` on.
//!
//! Not an example of how a service is written: that is `crates/order-service`.

mod scenario;

use buslane::{
    http::{Listen, router_with_metrics, serve},
    metrics::SECONDS_BUCKETS,
};
use clap::Parser;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use std::{error::Error, net::SocketAddr};

/// Makes one fault and keeps it until it is killed
#[derive(Debug, Parser)]
struct Options {
    /// Which fault
    #[arg(value_enum)]
    scenario: scenario::Scenario,

    /// Where it shows health and metrics
    #[arg(long, value_name = "ADDRESS:PORT")]
    http: SocketAddr,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let page = PrometheusBuilder::new()
        .set_buckets_for_metric(seconds, &SECONDS_BUCKETS)?
        .install_recorder()?;
    let bus = options.scenario.play().await?;
    let server =
        serve(router_with_metrics(&bus, move || page.render()), Listen::on(options.http)).await?;
    eprintln!("http://{}", server.address());
    std::future::pending().await
}
