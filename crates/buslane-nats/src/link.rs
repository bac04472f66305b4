//! The connection: made, told of, and counted. What goes over it is not decided here.

use crate::{
    ConnectError, NatsConfig, NatsConfigError,
    config::{Login, Tls},
    version::Version,
};
use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event,
    jetstream::{self, response::Response},
};
use buslane_core::{BrokerError, BrokerEvent, EventQueue, SymptomKind, Symptoms};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::watch;

/// The oldest server that has what every reader needs: heartbeats of pull requests.
const OLDEST: Version = Version(2, 9, 0);
/// Commands on their way to the connection; who comes later waits.
const COMMANDS: usize = 16_384;
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) version: Version,
    pub(crate) request_timeout: Duration,
    pub(crate) symptoms: Arc<Symptoms>,
    /// Counts the connections that were made.
    pub(crate) epoch: watch::Receiver<u64>,
}

impl Link {
    /// Connects, and looks at the server.
    pub(crate) async fn connect(config: &NatsConfig, events: Arc<EventQueue>) -> Result<Self, ConnectError> {
        let (connected, epoch) = watch::channel(0);
        let symptoms = Arc::<Symptoms>::default();
        let options = options(config, events, Arc::clone(&symptoms), connected).await?;
        let servers: Vec<String> = config.servers.split(',').map(|server| format!("nats://{server}")).collect();
        let unreachable = |reason: String| {
            ConnectError::Broker(BrokerError::Unreachable { reason: format!("{}: {reason}", config.servers) })
        };
        let client = match tokio::time::timeout(config.connect_timeout, options.connect(servers)).await {
            Err(_) => return Err(unreachable(format!("no answer within {:?}", config.connect_timeout))),
            Ok(Err(error)) => return Err(unreachable(explain(&error))),
            Ok(Ok(client)) => client,
        };
        let text = client.server_info().version;
        let version = Version::read(&text).unwrap_or_default();
        let refused = |reason: String| {
            Err(ConnectError::Server { servers: config.servers.clone(), version: text.clone(), reason })
        };
        if version < OLDEST {
            return refused(format!("is older than {OLDEST}, which has what readers need"));
        }
        let link = Self { client, version, request_timeout: config.request_timeout, symptoms, epoch };
        if let Err(reason) = link.find_jetstream().await {
            return refused(format!("JetStream does not answer, start the server with -js and allow it: {reason}"));
        }
        Ok(link)
    }

    /// Whether JetStream is there. What it says of itself is left unread: older servers say less than the client library
    /// insists on.
    async fn find_jetstream(&self) -> Result<(), String> {
        let answer = self.client.request("$JS.API.INFO", Bytes::new()).await.map_err(|error| error.to_string())?;
        match serde_json::from_slice::<Response<IgnoredAny>>(&answer.payload) {
            Ok(Response::Ok(_)) => Ok(()),
            Ok(Response::Err { error }) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Asks the server whether JetStream is there.
    pub(crate) async fn ping(&self) -> Result<(), BrokerError> {
        self.find_jetstream().await.map_err(|reason| BrokerError::Unreachable { reason })
    }

    /// A handle for questions to JetStream. It has a task of its own, which ends with it: keep it no longer than needed.
    pub(crate) fn jetstream(&self) -> jetstream::Context {
        jetstream::ContextBuilder::new().timeout(self.request_timeout).build(self.client.clone())
    }
}

async fn options(
    config: &NatsConfig,
    events: Arc<EventQueue>,
    symptoms: Arc<Symptoms>,
    connected: watch::Sender<u64>,
) -> Result<ConnectOptions, NatsConfigError> {
    let last_error = Arc::new(Mutex::new(None));
    let mut options = ConnectOptions::new()
        .name(&config.client_name)
        .connection_timeout(config.connect_timeout)
        .request_timeout(Some(config.request_timeout))
        .ping_interval(config.ping_interval)
        .client_capacity(COMMANDS)
        .max_reconnects(None)
        .reconnect_delay_callback(|attempt| {
            let doubled = Duration::from_millis(25).saturating_mul(1 << attempt.min(6));
            if attempt <= 1 { Duration::ZERO } else { doubled.min(LONGEST_PAUSE) }
        })
        .event_callback(move |event| {
            heard_of_login(&event, &symptoms);
            heard(&event, &events, &connected, &last_error);
            std::future::ready(())
        });
    if let Some(tls) = &config.security.tls {
        options = encrypted(options, tls)?;
    }
    match &config.security.login {
        None => Ok(options),
        Some(Login::User { user, password }) => {
            Ok(options.user_and_password(user.clone(), password.expose().to_owned()))
        }
        Some(Login::Token(token)) => Ok(options.token(token.expose().to_owned())),
        Some(Login::Nkey(seed)) => Ok(options.nkey(seed.expose().to_owned())),
        Some(Login::CredentialsFile(file)) => {
            let answer = options.credentials_file(file).await;
            answer.map_err(|error| unusable("security.login.credentials_file", file, &error))
        }
    }
}

fn encrypted(mut options: ConnectOptions, tls: &Tls) -> Result<ConnectOptions, NatsConfigError> {
    options = options.require_tls(true);
    for (setting, file) in [
        ("security.tls.ca_file", &tls.ca_file),
        ("security.tls.certificate_file", &tls.certificate_file),
        ("security.tls.key_file", &tls.key_file),
    ] {
        if let Some(file) = file {
            // The client would say only that it cannot connect.
            std::fs::File::open(file).map_err(|error| unusable(setting, file, &error))?;
        }
    }
    if let Some(file) = &tls.ca_file {
        options = options.add_root_certificates(PathBuf::from(file));
    }
    if let (Some(certificate), Some(key)) = (&tls.certificate_file, &tls.key_file) {
        options = options.add_client_certificate(PathBuf::from(certificate), PathBuf::from(key));
    }
    Ok(options)
}

fn unusable(setting: &'static str, file: &str, error: &std::io::Error) -> NatsConfigError {
    NatsConfigError::File { setting, file: file.to_owned(), reason: error.to_string() }
}

/// The client's text, with what lies behind it.
fn explain(error: &async_nats::ConnectError) -> String {
    use std::error::Error;
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => format!("login refused: {text}"),
        _ => text,
    }
}

/// Whether the server takes this login: it may end a connection whose credential is over, and refuses the next.
fn heard_of_login(event: &Event, symptoms: &Symptoms) {
    let reason = match event {
        Event::Connected => return symptoms.clear(SymptomKind::LoginRefused, None),
        Event::ServerError(error) => error.to_string(),
        Event::ClientError(error) => error.to_string(),
        _ => return,
    };
    let text = reason.to_lowercase();
    if text.contains("authorization violation") || text.contains("authentication") {
        symptoms.note(SymptomKind::LoginRefused, None, reason);
    }
}

fn heard(event: &Event, events: &EventQueue, connected: &watch::Sender<u64>, last_error: &Mutex<Option<String>>) {
    match event {
        Event::Connected => {
            let mut is_first = false;
            connected.send_modify(|epoch| {
                is_first = *epoch == 0;
                *epoch += 1;
            });
            if !is_first {
                events.push(BrokerEvent::Reconnected);
            }
        }
        Event::Disconnected => {
            let reason = last_error.lock().take().unwrap_or_else(|| "the connection ended".to_owned());
            events.push(BrokerEvent::Disconnected { reason });
        }
        Event::ServerError(error) => *last_error.lock() = Some(error.to_string()),
        Event::ClientError(error) => *last_error.lock() = Some(error.to_string()),
        Event::SlowConsumer(_) => tracing::error!("the client has dropped messages: they come again"),
        Event::LameDuckMode | Event::Draining | Event::Closed => {}
    }
}
