//! Health, metrics and rollout over HTTP, with axum. Needs the cargo feature `http`.
//!
//! | path | answers |
//! |---|---|
//! | `/livez` | 200, or 503 when only a new process would help |
//! | `/readyz` | 200, or 503 while the bus cannot do its work or is shutting down |
//! | `/startupz` | 200, or 503 until it was ready to work once |
//! | `/metrics` | the Prometheus page, where there is one |
//! | `/status` | 200: health and what the bus is doing |
//! | `/rollout` | 200: how the [rollout](crate::Rollout) stands. `PUT` changes it |
//!
//! The bodies are JSON, but for the page. [`router`] is for an application that has a server,
//! [`serve`] for one that has none.
//!
//! `PUT /rollout` needs `Authorization: Bearer TOKEN` with
//! [`RolloutConfig::token`](crate::config::RolloutConfig::token), and is refused where there is
//! none. Its body is a JSON object with exactly one of
//!
//! | key | does |
//! |---|---|
//! | `"percent": 50` | [`Rollout::set_percent`](crate::Rollout::set_percent) |
//! | `"plan": "10 for 1h, 50 for 1h, 100"` | [`Rollout::begin`](crate::Rollout::begin); beside it `"advance": "automatic"`, else it is `"manual"` |
//! | `"advance": true` | [`Rollout::advance`](crate::Rollout::advance) |
//! | `"roll_back": true` | [`Rollout::roll_back`](crate::Rollout::roll_back) |
//!
//! and the answer is how it stands then. 400 says which rule the body breaks, 401 that the token is
//! missing or another one, 403 that none is configured, 409 that there is no plan or no further
//! stage, 413 that the body has more than 4,096 bytes, 503 that the bus is closed. Each change is
//! one line of log with who asked, which `X-Operator: NAME` says, and so is each refusal.
//!
//! Not here: anything else that changes the bus, and any kind of login. So [`serve`] listens where
//! the machine itself can reach it, unless it is told otherwise. The token goes over the wire as it
//! is: let nobody listen there.

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

/// The endpoints of a bus. Nest it where you like, and add what else a path of yours needs.
///
/// Each holds a clone of the bus: shut the bus down, or drop the router, to end it.
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

/// As [`router`], with `/metrics`, which answers with what `page` renders: `move ||
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
        // How it was a moment ago is of no use to anybody.
        Ok(body) => {
            let headers =
                [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
            (code, headers, body).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
