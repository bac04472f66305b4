//! An order service on a bus: publishes orders, handles them, and checks the promises of the bus.
//!
//! Exit code 0: nothing lost, no order violated, and a rollout went as requested. 1: a promise was
//! broken, or the run could not go on. 2: an argument or setting was refused before the run began.

mod checker;
mod faults;
mod handlers;
#[cfg(feature = "http")]
mod http;
mod ledger;
mod options;
mod progress;
mod publish;
mod replay;
mod report;
mod rollout;
mod run;
mod service;
mod workload;

use buslane::{Backend, BusError, Config, EventBus};
use clap::Parser;
use options::{Options, Role};
use std::{fmt::Display, process::ExitCode, sync::Arc};

/// Returns the memory of a worked-off backlog to the system; glibc's allocator would keep some of
/// it.
#[cfg(all(feature = "jemalloc", not(target_env = "msvc")))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Exit code for refused arguments and settings.
const USAGE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    // Large, because it holds all of the configuration.
    match Box::pin(start(&options)).await {
        Ok(code) => code,
        Err((code, error)) => {
            eprintln!("error: {error}");
            ExitCode::from(code)
        }
    }
}

/// Builds all parts; everything that can be refused is refused before the first publish.
async fn start(options: &Options) -> Result<ExitCode, (u8, String)> {
    options.check_files().map_err(usage)?;
    options.check_http().map_err(usage)?;
    let plan = Arc::new(workload::Plan::new(options).map_err(usage)?);
    options.check_backlog(plan.messages()).map_err(usage)?;
    options.check_rollout().map_err(usage)?;
    let mut config = Config::load().map_err(usage)?;
    if options.backlog.is_some() {
        report::hasten(&mut config);
    }
    if options.rollout.is_some() {
        rollout::hasten(&mut config, options.inject);
    }
    if config.backend() == Backend::Memory && options.role != Role::All {
        let role = options.role.as_str();
        return Err(usage(format!(
            "--role {role}: the broker of memory:// lives in one process, so nobody else could be the other half; \
             use --role all, or name a shared broker in BUSLANE_URL"
        )));
    }
    let report = options.report.as_deref().map(report::create).transpose().map_err(usage)?;
    let clock = ledger::Clock::start();
    let ledger = options
        .ledger
        .as_deref()
        .map(|path| ledger::Ledger::create(path, clock))
        .transpose()
        .map_err(usage)?;
    let display = progress::Display::new(plan.messages(), options);
    progress::install_log(&display, options.verbose);
    handlers::quieten_injected_panics();
    #[cfg(feature = "http")]
    let page = options.http.map(|_| http::record()).transpose().map_err(|error| (1, error))?;
    let bus = EventBus::connect(config).await.map_err(|error| match error {
        BusError::Backend { scheme, .. } => usage(format!(
            "{scheme}:// is not part of this build: build it with `--features {scheme}`"
        )),
        BusError::Config(_) => usage(error),
        error => (1, error.to_string()),
    })?;
    // Listens before anything shows that the service is up: from then on it may be asked to stop.
    let interrupts = run::Interrupts::listen().map_err(|error| (1, format!("signals: {error}")))?;
    #[cfg(unix)]
    bus.reload_on_sighup().map_err(|error| (1, format!("SIGHUP: {error}")))?;
    #[cfg(feature = "http")]
    let window = match options.http.zip(page) {
        Some((listen, page)) => Some(
            http::HttpServer::open(&bus, page, listen, options.http_public).await.map_err(usage)?,
        ),
        None => None,
    };
    let defective_keys = options
        .rollout
        .as_ref()
        .map(|_| Arc::new(faults::DefectiveKeys::new(&bus, options.inject)));
    let service = Arc::new(service::Service::new(options, clock, ledger, defective_keys));
    let ended = run::run(&bus, &service, options, &plan, interrupts, display)
        .await
        .map_err(|error| (1, error))?;
    #[cfg(feature = "http")]
    if let Some(window) = window {
        window.close().await;
    }
    ended.report.print(&ended.notes);
    if let Some(file) = report {
        ended.report.write(file).map_err(|error| (1, error))?;
    }
    Ok(ExitCode::from(u8::from(!ended.is_good())))
}

fn usage(error: impl Display) -> (u8, String) {
    (USAGE, error.to_string())
}
