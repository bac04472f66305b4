//! The connection: its options, its events, the present client, and the version of the server.

mod remake;
mod rights;

use crate::{
    ConnectError, NatsConfig, NatsConfigError,
    config::{Credentials, Tls},
};
use arc_swap::ArcSwap;
use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event,
    jetstream::{self, response::Response},
};
use buslane_core::{BrokerError, BrokerEvent, EventQueue, Stragglers, SymptomKind, Symptoms};
use bytes::Bytes;
use parking_lot::Mutex;
use rights::DeniedRights;
use serde::de::IgnoredAny;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The oldest server with heartbeats for pull requests, which every reader needs.
const OLDEST: Version = Version(2, 9, 0);
/// The first release with several filters for one consumer, which partitions and the watch of
/// leases need.
pub(crate) const NEEDED_FOR_PARTITIONS: Version = Version(2, 10, 0);
/// The client's command queue for the connection; further commands wait.
const COMMANDS: usize = 16_384;
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Link {
    client: ArcSwap<Client>,
    /// Cancelled when the task of the client has ended.
    ended: Mutex<CancellationToken>,
    pub(crate) version: Version,
    pub(crate) request_timeout: Duration,
    pub(crate) symptoms: Arc<Symptoms>,
    /// Changes with each connection that replaces another one.
    pub(crate) epoch: watch::Receiver<Epoch>,
    /// Counts messages that were taken although the client cannot read their headers.
    pub(crate) unreadable: AtomicU64,
    pub(crate) stragglers: Arc<Stragglers>,
    /// Whether a task that the broker cannot do without has panicked.
    has_panicked: Arc<AtomicBool>,
    config: NatsConfig,
    listener: ConnectionListener,
}

/// Receives the events of every client's connection.
#[derive(Clone)]
struct ConnectionListener {
    events: Arc<EventQueue>,
    symptoms: Arc<Symptoms>,
    connected: Arc<watch::Sender<Epoch>>,
    denied: Arc<Mutex<DeniedRights>>,
}

/// The connections that replaced another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Epoch {
    /// The number of such connections.
    pub(crate) number: u64,
    /// Whether the task of the previous client had ended.
    pub(crate) client_ended: bool,
}

impl ConnectionListener {
    fn reconnected(&self, client_ended: bool) {
        self.connected
            .send_modify(|epoch| *epoch = Epoch { number: epoch.number + 1, client_ended });
        self.events.push(BrokerEvent::Reconnected);
    }
}

/// A client, and a token that is cancelled when the task of the client ends.
type NewClient = (Client, CancellationToken);

impl Link {
    /// Connects, and checks the version of the server and JetStream.
    pub(crate) async fn connect(
        config: &NatsConfig,
        events: Arc<EventQueue>,
    ) -> Result<Self, ConnectError> {
        let (connected, epoch) = watch::channel(Epoch::default());
        let symptoms = Arc::<Symptoms>::default();
        let listener = ConnectionListener {
            events,
            symptoms: Arc::clone(&symptoms),
            connected: Arc::new(connected),
            denied: Arc::default(),
        };
        let (client, ended) = make(config, &listener).await?;
        let text = client.server_info().version;
        let version = Version::read(&text).unwrap_or_default();
        let refused = |reason: String| {
            Err(ConnectError::Server {
                servers: config.servers.clone(),
                version: text.clone(),
                reason,
            })
        };
        if version < OLDEST {
            return refused(format!("is older than {OLDEST}, which has what readers need"));
        }
        let link = Self {
            client: ArcSwap::from_pointee(client),
            ended: Mutex::new(ended),
            version,
            request_timeout: config.request_timeout,
            symptoms,
            epoch,
            unreadable: AtomicU64::new(0),
            stragglers: Arc::default(),
            has_panicked: Arc::default(),
            config: config.clone(),
            listener,
        };
        if let Err(reason) = link.find_jetstream().await {
            return refused(format!(
                "JetStream does not answer, start the server with -js and allow it: {reason}"
            ));
        }
        Ok(link)
    }

    /// The current client. The link replaces a client whose task ends, and then changes the epoch.
    pub(crate) fn client(&self) -> Arc<Client> {
        self.client.load_full()
    }

    /// Whether the server has denied the right to subscribe to this subject.
    pub(crate) fn denies_subscription(&self, subject: &str) -> bool {
        self.listener.denied.lock().has_subscription(subject)
    }

    /// Why a request failed: a denied right if there is one, because the client only sees that no
    /// answer arrives.
    pub(crate) fn explain(&self, subject: &str, error: &dyn std::fmt::Display) -> String {
        if self.listener.denied.lock().has_publish(subject) {
            format!("the server has denied the right to publish to {subject}")
        } else {
            error.to_string()
        }
    }

    /// Checks that JetStream answers. Does not parse the answer further, because older servers send
    /// fewer fields than the client library requires.
    async fn find_jetstream(&self) -> Result<(), String> {
        let answer = self
            .client()
            .request("$JS.API.INFO", Bytes::new())
            .await
            .map_err(|error| error.to_string())?;
        match serde_json::from_slice::<Response<IgnoredAny>>(&answer.payload) {
            Ok(Response::Ok(_)) => Ok(()),
            Ok(Response::Err { error }) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Checks that JetStream answers.
    pub(crate) async fn ping(&self) -> Result<(), BrokerError> {
        self.find_jetstream().await.map_err(|reason| BrokerError::Unreachable { reason })
    }

    /// A context for requests to JetStream. The context has a separate task, so drop it soon.
    pub(crate) fn jetstream(&self) -> jetstream::Context {
        jetstream::ContextBuilder::new()
            .timeout(self.request_timeout)
            .build(Client::clone(&self.client()))
    }
}

async fn make(
    config: &NatsConfig,
    listener: &ConnectionListener,
) -> Result<NewClient, ConnectError> {
    let ended = CancellationToken::new();
    let options = options(config, listener.clone(), ended.clone()).await?;
    let servers: Vec<String> =
        config.servers.split(',').map(|server| format!("nats://{server}")).collect();
    let unreachable = |reason: String| {
        ConnectError::Broker(BrokerError::Unreachable {
            reason: format!("{}: {reason}", config.servers),
        })
    };
    match tokio::time::timeout(config.connect_timeout, options.connect(servers)).await {
        Err(_) => Err(unreachable(format!("no answer within {:?}", config.connect_timeout))),
        Ok(Err(error)) => Err(unreachable(explain(&error))),
        Ok(Ok(client)) => Ok((client, ended)),
    }
}

async fn options(
    config: &NatsConfig,
    listener: ConnectionListener,
    ended: CancellationToken,
) -> Result<ConnectOptions, NatsConfigError> {
    let (last_error, has_connected) = (Arc::new(Mutex::new(None)), AtomicBool::new(false));
    // The client drops its event callback together with its task, also after a panic.
    let ended = ended.drop_guard();
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
            let _alive = &ended;
            note_login(&event, &listener.symptoms);
            // The caller of `make` already knows about the first connection of a client.
            if !matches!(event, Event::Connected) || has_connected.swap(true, Ordering::AcqRel) {
                note_event(&event, &listener, &last_error);
            }
            std::future::ready(())
        });
    if let Some(tls) = &config.security.tls {
        options = encrypted(options, tls)?;
    }
    match config.security.login.as_ref().and_then(|login| login.credentials().next()) {
        None => Ok(options),
        Some(Credentials::User(user, password)) => {
            Ok(options.user_and_password(user.to_owned(), password.expose().to_owned()))
        }
        Some(Credentials::Token(token)) => Ok(options.token(token.expose().to_owned())),
        Some(Credentials::Nkey(seed)) => Ok(options.nkey(seed.expose().to_owned())),
        Some(Credentials::File(file)) => {
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
            // The client would only report that it cannot connect.
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

/// The text of an error with its causes.
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
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            format!("login refused: {text}")
        }
        _ => text,
    }
}

/// Records whether the server accepts the login. The server ends a connection whose credential
/// expires, and refuses the next one.
fn note_login(event: &Event, symptoms: &Symptoms) {
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

fn note_event(event: &Event, listener: &ConnectionListener, last_error: &Mutex<Option<String>>) {
    match event {
        Event::Connected => {
            listener.reconnected(false);
        }
        Event::Disconnected => {
            let reason =
                last_error.lock().take().unwrap_or_else(|| "the connection ended".to_owned());
            listener.events.push(BrokerEvent::Disconnected { reason });
        }
        Event::ServerError(error) => {
            let text = error.to_string();
            let denied = listener.denied.lock().note(&text);
            if let Some(right) = denied {
                tracing::error!(right, "the server denies a right");
            }
            *last_error.lock() = Some(text);
        }
        Event::ClientError(error) => *last_error.lock() = Some(error.to_string()),
        Event::SlowConsumer(_) => {
            tracing::error!("the client has dropped messages: they come again")
        }
        Event::LameDuckMode | Event::Draining | Event::Closed => {}
    }
}

/// The version of a server: major, minor, patch. A server ignores unknown settings, so the adapter
/// refuses settings that the version lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32, pub(crate) u32);

impl Version {
    /// Reads a version such as `2.15.2` or `2.11.0-RC.1`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut numbers = text.trim_start_matches('v').split(['.', '-', '+']).map(str::parse);
        match (numbers.next()?, numbers.next()?, numbers.next()?) {
            (Ok(major), Ok(minor), Ok(patch)) => Some(Self(major, minor, patch)),
            _ => None,
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n2_versions_are_read_and_compared() {
        for (text, version) in [
            ("2.9.10", Version(2, 9, 10)),
            ("v2.15.2", Version(2, 15, 2)),
            ("2.11.0-RC.1", Version(2, 11, 0)),
        ] {
            assert_eq!(Version::read(text), Some(version), "{text}");
        }
        assert_eq!(Version::read("dev"), None);
        assert!(
            Version(2, 9, 10) < NEEDED_FOR_PARTITIONS && Version(2, 15, 2) > NEEDED_FOR_PARTITIONS
        );
    }
}
