//! Health and metrics of the service over HTTP.

use buslane::{
    EventBus,
    http::{Listen, Server, router_with_metrics, serve},
    metrics::SECONDS_BUCKETS,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{net::SocketAddr, time::Duration};

/// Interval of the histograms' upkeep.
const UPKEEP: Duration = Duration::from_secs(5);

/// The HTTP server for health and metrics.
pub(crate) struct HttpServer {
    server: Server,
    upkeep: tokio::task::JoinHandle<()>,
}

/// Installs the recorder; the bus must be made after it.
pub(crate) fn record() -> Result<PrometheusHandle, String> {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &SECONDS_BUCKETS);
    builder
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| format!("metrics: {error}"))
}

impl HttpServer {
    /// Listens, and prints the address.
    pub(crate) async fn open(
        bus: &EventBus,
        page: PrometheusHandle,
        listen: SocketAddr,
        allow_public: bool,
    ) -> Result<Self, String> {
        let rendered = page.clone();
        let router = router_with_metrics(bus, move || rendered.render());
        let listen = if allow_public { Listen::public(listen) } else { Listen::on(listen) };
        let server = serve(router, listen).await.map_err(|error| format!("--http: {error}"))?;
        eprintln!(
            "http://{}: /livez /readyz /startupz /metrics /status /rollout",
            server.address()
        );
        let upkeep = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(UPKEEP);
            loop {
                ticks.tick().await;
                page.run_upkeep();
            }
        });
        Ok(Self { server, upkeep })
    }

    /// Answers open requests, then closes.
    pub(crate) async fn close(self) {
        self.upkeep.abort();
        self.server.close().await;
    }
}
