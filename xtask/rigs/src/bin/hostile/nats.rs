//! A bare socket that speaks the protocol of NATS as far as it is needed, so that header blocks go
//! out as they are.

use crate::{
    audit::{Books, Sent},
    input::{Headers, Input},
};
use parking_lot::{Condvar, Mutex};
use serde::Deserialize;
use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

/// Messages without an answer at any moment.
const IN_FLIGHT: usize = 1_000;
/// What one answer is given.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Nats {
    writer: TcpStream,
    shared: Arc<Shared>,
    reader: JoinHandle<()>,
    inbox: String,
    next: u64,
}

/// What the thread that reads shares with the one that writes.
struct Shared {
    books: Arc<Books>,
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
    pub(crate) fn connect(url: &str, books: Arc<Books>) -> Result<Self, String> {
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
        let shared = Arc::new(Shared { books, waiting, answered });
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
                    .for_each(|(sent, _)| self.shared.books.refused(sent, "no answer"));
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
            Ok(Answer { seq, error: None }) => self.books.stored(sent, partition, seq),
            Ok(Answer { error: Some(error), .. }) => self.books.refused(&sent, &error.description),
            Err(_) => self.books.refused(&sent, &String::from_utf8_lossy(body)),
        }
        self.answered.notify_all();
    }
}
