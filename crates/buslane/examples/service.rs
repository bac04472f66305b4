//! A service on Unix: health over HTTP, a reload on SIGHUP, a clean stop on SIGTERM.
//!
//! Run it with `cargo run -p buslane --features http --example service`.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use buslane::{
    Config, Event, EventBus,
    http::{Listen, router, serve},
};
use std::{error::Error, sync::Arc};
use tokio::signal::unix::{SignalKind, signal};

/// What the handlers share, such as a pool of database connections.
struct Orders {
    table: String,
}

impl Orders {
    async fn store(&self, event: &Event) -> Result<(), serde_json::Error> {
        let order: serde_json::Value = event.payload.parse()?;
        println!("into {}: {} {order}", self.table, event.aggregate_id);
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let bus = EventBus::connect(Config::load()?).await?;
    bus.reload_on_sighup()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let server = serve(router(&bus), Listen::on("127.0.0.1:8080".parse()?)).await?;
    println!("health: http://{}/readyz", server.address());

    let orders = Arc::new(Orders { table: "orders".to_owned() });
    let handler = move |event: Event| {
        let orders = Arc::clone(&orders);
        async move { orders.store(&event).await }
    };
    bus.subscribe_envelopes("orders", handler).await?;

    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    // The bus first: `/readyz` answers 503 while its lanes drain.
    let report = bus.close().await?;
    server.close().await;
    println!("handled {}, left {} for redelivery", report.finished, report.abandoned);
    Ok(())
}
