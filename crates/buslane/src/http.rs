//! Health, metrics and rollout over HTTP, with axum. Needs the cargo feature `http`.
//!
//! | path | answers |
//! |---|---|
//! | `/livez` | 200, or 503 when only a new process would help |
//! | `/readyz` | 200, or 503 while the bus cannot do its work or is shutting down |
//! | `/startupz` | 200, or 503 until the bus was ready for the first time |
//! | `/metrics` | the Prometheus page, with [`router_with_metrics`] |
//! | `/status` | 200: the health and the state of the bus |
//! | `/rollout` | 200: the status of the [rollout](crate::Rollout). `PUT` changes it |
//!
//! All bodies are JSON, except the Prometheus page. [`router`] is for an application with a server
//! of its own, [`serve`] for one without:
//!
//! ```
//! use buslane::{Config, EventBus, http::{Listen, router, serve}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let bus = EventBus::connect(Config::default()).await?;
//! let server = serve(router(&bus), Listen::on("127.0.0.1:0".parse()?)).await?;
//! println!("http://{}/readyz", server.address());
//! // Later, on SIGTERM: `/readyz` answers 503 while the lanes drain.
//! bus.close().await?;
//! server.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! `PUT /rollout` needs `Authorization: Bearer TOKEN` with
//! [`RolloutConfig::token`](crate::config::RolloutConfig::token); without a configured token every
//! `PUT` is refused. Its body is a JSON object with exactly one of
//!
//! | key | does |
//! |---|---|
//! | `"percent": 50` | [`Rollout::set_percent`](crate::Rollout::set_percent) |
//! | `"plan": "10 for 1h, 50 for 1h, 100"` | [`Rollout::begin`](crate::Rollout::begin); beside it `"advance": "automatic"`, else it is `"manual"` |
//! | `"advance": true` | [`Rollout::advance`](crate::Rollout::advance) |
//! | `"roll_back": true` | [`Rollout::roll_back`](crate::Rollout::roll_back) |
//!
//! and the answer is the new status. Errors: 400 names the rule that the body breaks, 401 a missing
//! or wrong token, 403 a bus without a token, 409 a missing plan or stage, 413 a body above 4,096
//! bytes, 503 a closed bus. Each change and each refusal writes one log line, which names the
//! operator by the header `X-Operator: NAME`.
//!
//! Nothing else here changes the bus, and there is no login. Therefore [`serve`] accepts loopback
//! addresses alone, unless [`Listen::public`] allows others. The token is sent in clear text: use a
//! private network or a proxy with TLS.

mod connections;
mod limits;
mod rollout;
mod server;
mod status;

pub use limits::ServerLimits;
pub use server::{HttpError, Listen, Server, serve};

use crate::{EventBus, Health};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use std::sync::Arc;

/// Renders the Prometheus page.
type Page = Arc<dyn Fn() -> String + Send + Sync>;

/// The endpoints of a bus, to serve on their own or to nest in another router.
///
/// Each endpoint holds a clone of the bus: the bus ends by its shutdown, or when the router is
/// dropped too.
pub fn router(bus: &EventBus) -> Router {
    Router::new()
        .route("/livez", get(async |State(bus): State<EventBus>| probe(&bus, |health| health.live)))
        .route(
            "/readyz",
            get(async |State(bus): State<EventBus>| probe(&bus, |health| health.ready)),
        )
        .route(
            "/startupz",
            get(async |State(bus): State<EventBus>| probe(&bus, |health| health.started)),
        )
        .route(
            "/status",
            get(async |State(bus): State<EventBus>| {
                json(StatusCode::OK, &status::Report::of(&bus))
            }),
        )
        .route("/rollout", rollout::rollout())
        .with_state(bus.clone())
}

/// As [`router`], with `/metrics`, which answers with the text that `page` returns: `move ||
/// handle.render()` for the handle of metrics-exporter-prometheus.
pub fn router_with_metrics(
    bus: &EventBus,
    page: impl Fn() -> String + Send + Sync + 'static,
) -> Router {
    let page: Page = Arc::new(page);
    let metrics =
        Router::new().route("/metrics", get(async |State(page): State<Page>| metrics(&*page)));
    router(bus).merge(metrics.with_state(page))
}

fn probe(bus: &EventBus, is_well: impl Fn(&Health) -> bool) -> Response {
    let health = bus.health();
    let code = if is_well(&health) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(code, &health)
}

fn metrics(page: &(dyn Fn() -> String + Send + Sync)) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page()).into_response()
}

fn json(code: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        // A cached health would be wrong.
        Ok(body) => {
            let headers =
                [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
            (code, headers, body).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
