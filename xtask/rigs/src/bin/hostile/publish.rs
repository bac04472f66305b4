//! Publishes at a rate past the bus, in a thread of its own, with a raw client of Kafka or NATS.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use buslane::Backend;
use parking_lot::{Condvar, Mutex};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Message};
use serde::Deserialize;

use super::audit::{Audit, Sent};
use super::input::{self, Dice, Headers, Input, Topics};

/// The raw client.
pub(crate) enum Client {
    Kafka(Kafka),
    Nats(Nats),
}

impl Client {
    const fn backend(&self) -> Backend {
        match self {
            Self::Kafka(_) => Backend::Kafka,
            Self::Nats(_) => Backend::Nats,
        }
    }

    fn send(&mut self, topic: &str, input: Input) -> Result<(), String> {
        match self {
            Self::Kafka(kafka) => kafka.send(topic, input),
            Self::Nats(nats) => nats.send(topic, input),
        }
    }

    /// Waits for the answers to everything that was sent.
    fn end(self) -> Result<(), String> {
        match self {
            Self::Kafka(kafka) => kafka.end(),
            Self::Nats(nats) => nats.end(),
        }
    }
}

/// The thread that publishes.
pub(crate) struct Publishing {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), String>>,
}

impl Publishing {
    pub(crate) fn begin(
        client: Client,
        topics: &Arc<Topics>,
        rate: u64,
        time: Duration,
        dice: Dice,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (topics, stopped) = (Arc::clone(topics), Arc::clone(&stop));
        let thread =
            std::thread::spawn(move || publish(client, &topics, dice, rate, time, &stopped));
        Self { stop, thread }
    }

    /// Whether each message has its answer.
    pub(crate) fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    pub(crate) async fn end(self) -> Result<(), String> {
        self.stop.store(true, Relaxed);
        let ended = tokio::task::spawn_blocking(move || self.thread.join()).await;
        match ended {
            Ok(Ok(result)) => result.map_err(|error| format!("publishing: {error}")),
            _ => Err("publishing has panicked".to_owned()),
        }
    }
}

fn publish(
    mut client: Client,
    topics: &Topics,
    mut dice: Dice,
    rate: u64,
    time: Duration,
    stop: &AtomicBool,
) -> Result<(), String> {
    let (start, mut sent) = (Instant::now(), 0_u64);
    while start.elapsed() < time && !stop.load(Relaxed) {
        let due = start + Duration::from_nanos(sent * 1_000_000_000 / rate);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let input = input::next(&mut dice, client.backend());
        client.send(&topics.names[input.topic], input)?;
        sent += 1;
    }
    client.end()
}

/// Time for the acknowledgements of the last records.
const LAST: Duration = Duration::from_secs(60);

pub(crate) struct Kafka(ThreadedProducer<Answers>);

/// Receives the delivery report of each record.
struct Answers(Arc<Audit>);

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    type DeliveryOpaque = Box<Sent>;

    fn delivery(&self, answer: &DeliveryResult<'_>, sent: Box<Sent>) {
        match answer {
            Ok(record) => {
                let partition = u32::try_from(record.partition()).unwrap_or(u32::MAX);
                self.0.stored(*sent, partition, u64::try_from(record.offset()).unwrap_or(u64::MAX));
            }
            Err((error, _)) => self.0.refused(&sent, &error.to_string()),
        }
    }
}

impl Kafka {
    pub(crate) fn connect(url: &str, audit: Arc<Audit>) -> Result<Self, String> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", url.trim_start_matches("kafka://"))
            // Records of a key keep their order when one is sent again.
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .create_with_context(Answers(audit));
        producer.map(Self).map_err(|error| error.to_string())
    }

    pub(crate) fn send(&self, topic: &str, input: Input) -> Result<(), String> {
        let Input { topic: place, partition, key, headers, body, aggregate, kind } = input;
        let sent = Sent::new(place, kind, aggregate, body.as_deref().unwrap_or_default());
        let partition = i32::try_from(partition).unwrap_or(0);
        let mut record = BaseRecord::<[u8], [u8], Box<Sent>>::with_opaque_to(topic, Box::new(sent))
            .partition(partition);
        if let Some(key) = &key {
            record = record.key(key.as_slice());
        }
        if let Some(body) = &body {
            record = record.payload(body.as_slice());
        }
        if let Headers::Pairs(pairs) = &headers {
            let insert = |all: OwnedHeaders, (name, value): &(String, Option<Vec<u8>>)| {
                all.insert(Header { key: name, value: value.as_ref() })
            };
            record = record.headers(pairs.iter().fold(OwnedHeaders::new(), insert));
        }
        loop {
            match self.0.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) => {
                    record = again;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, record)) => {
                    self.0.context().0.refused(&record.delivery_opaque, &error.to_string());
                    return Ok(());
                }
            }
        }
    }

    pub(crate) fn end(self) -> Result<(), String> {
        self.0.flush(LAST).map_err(|error| error.to_string())
    }
}

/// Messages without an answer at any moment.
const IN_FLIGHT: usize = 1_000;
/// Time for one answer.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Nats {
    writer: TcpStream,
    shared: Arc<Shared>,
    reader: JoinHandle<()>,
    inbox: String,
    next: u64,
}

/// State that the reading thread shares with the writing one.
struct Shared {
    audit: Arc<Audit>,
    waiting: Mutex<Waiting>,
    answered: Condvar,
}

#[derive(Default)]
struct Waiting {
    sent: HashMap<u64, (Sent, u32)>,
    /// Why nothing more will come.
    failure: Option<String>,
}

/// The answer of JetStream.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    seq: u64,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    description: String,
}

impl Nats {
    pub(crate) fn connect(url: &str, audit: Arc<Audit>) -> Result<Self, String> {
        let address = url.trim_start_matches("nats://");
        let inbox = format!("_INBOX.hostile{:x}", crate::bus::now_ns());
        let connect = || -> io::Result<(TcpStream, BufReader<TcpStream>)> {
            let mut writer = TcpStream::connect(address)?;
            writer.set_nodelay(true)?;
            let mut reader = BufReader::new(writer.try_clone()?);
            // The server speaks first.
            reader.read_line(&mut String::new())?;
            write!(
                writer,
                "CONNECT {{\"verbose\":false,\"headers\":true}}\r\nSUB {inbox}.* 1\r\nPING\r\n"
            )?;
            Ok((writer, reader))
        };
        let (writer, reader) = connect().map_err(|error| format!("{address}: {error}"))?;
        let (waiting, answered) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { audit, waiting, answered });
        let (hears, pong) =
            (Arc::clone(&shared), writer.try_clone().map_err(|error| error.to_string())?);
        let reader = std::thread::spawn(move || {
            let failure = hears
                .hear(reader, pong)
                .err()
                .map_or_else(|| "closed".to_owned(), |error| error.to_string());
            hears.waiting.lock().failure = Some(failure);
            hears.answered.notify_all();
        });
        Ok(Self { writer, shared, reader, inbox, next: 0 })
    }

    pub(crate) fn send(&mut self, topic: &str, input: Input) -> Result<(), String> {
        let Input { topic: place, partition, headers, body, aggregate, kind, .. } = input;
        let body = body.unwrap_or_default();
        let sent = Sent::new(place, kind, aggregate, &body);
        self.wait(IN_FLIGHT - 1)?;
        self.next += 1;
        self.shared.waiting.lock().sent.insert(self.next, (sent, partition));
        let mut bytes = Vec::with_capacity(body.len() + 200);
        let (inbox, number) = (&self.inbox, self.next);
        let written = match &headers {
            Headers::Block(block) if !block.is_empty() => {
                let (head, total) = (block.len(), block.len() + body.len());
                let written =
                    write!(bytes, "HPUB {topic}.{partition} {inbox}.{number} {head} {total}\r\n");
                bytes.extend_from_slice(block);
                written
            }
            _ => write!(bytes, "PUB {topic}.{partition} {inbox}.{number} {}\r\n", body.len()),
        };
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(b"\r\n");
        written
            .and_then(|()| self.writer.write_all(&bytes))
            .map_err(|error| format!("the socket: {error}"))
    }

    /// Waits until no more than `most` messages wait for their answers.
    fn wait(&self, most: usize) -> Result<(), String> {
        let mut waiting = self.shared.waiting.lock();
        while waiting.sent.len() > most {
            if let Some(failure) = &waiting.failure {
                return Err(format!("the server: {failure}"));
            }
            if self.shared.answered.wait_for(&mut waiting, PATIENCE).timed_out() {
                waiting
                    .sent
                    .values()
                    .for_each(|(sent, _)| self.shared.audit.refused(sent, "no answer"));
                return Err(format!(
                    "{} messages were not answered within {PATIENCE:?}",
                    waiting.sent.len()
                ));
            }
        }
        Ok(())
    }

    pub(crate) fn end(self) -> Result<(), String> {
        let ended = self.wait(0);
        let _ = self.writer.shutdown(std::net::Shutdown::Both);
        let _ = self.reader.join();
        ended
    }
}

impl Shared {
    /// Reads until the connection ends.
    fn hear(&self, mut reader: BufReader<TcpStream>, mut pong: TcpStream) -> io::Result<()> {
        let mut line = String::new();
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["PING"] => pong.write_all(b"PONG\r\n")?,
                ["MSG", subject, .., size] | ["HMSG", subject, .., size] => {
                    let size: usize = size.parse().map_err(io::Error::other)?;
                    let mut body = vec![0; size + 2];
                    reader.read_exact(&mut body)?;
                    self.take(subject, &body[..size]);
                }
                [word, ..] if word.starts_with("-ERR") => {
                    return Err(io::Error::other(line.trim().to_owned()));
                }
                _ => {}
            }
        }
    }

    fn take(&self, subject: &str, body: &[u8]) {
        let number = subject.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
        let Some((sent, partition)) =
            number.and_then(|number| self.waiting.lock().sent.remove(&number))
        else {
            return;
        };
        match serde_json::from_slice::<Answer>(body) {
            Ok(Answer { seq, error: None }) => self.audit.stored(sent, partition, seq),
            Ok(Answer { error: Some(error), .. }) => self.audit.refused(&sent, &error.description),
            Err(_) => self.audit.refused(&sent, &String::from_utf8_lossy(body)),
        }
        self.answered.notify_all();
    }
}
