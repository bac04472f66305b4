//! A thread that inspects every process every few seconds and changes their stages, also while a
//! fault takes its time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask_base::http;

use super::record::Record;
use super::series::Moved;
use crate::fleet::Dice;

const LOOK: Duration = Duration::from_secs(3);
/// Ended processes that the pictures show.
const DRAWN: usize = 256;
/// The log line with which a process announces its address.
const BEGIN: u64 = 1 << 16;

/// A process that runs.
#[derive(Debug, Clone)]
pub(super) struct Seat {
    pub(super) number: u32,
    pub(super) process: u32,
    pub(super) log: PathBuf,
}

/// The observations so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) records: BTreeMap<u32, Record>,
    pub(super) percent: u8,
    /// Accepted and refused stages.
    pub(super) stages: u64,
    pub(super) refused: u64,
    pub(super) last_refusal: Option<String>,
    /// What the metrics of all processes showed.
    pub(super) moved: Moved,
}

struct Shared {
    seats: Mutex<Vec<Seat>>,
    seen: Mutex<Seen>,
    is_over: Mutex<bool>,
}

pub(super) struct Observer {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Observer {
    /// Changes the stages at this interval, authorised by the token.
    pub(super) fn start(begun: Instant, stages: Stages, every: Duration, token: String) -> Self {
        let shared = Arc::new(Shared {
            seats: Mutex::default(),
            seen: Mutex::default(),
            is_over: Mutex::new(false),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || watch(&of_thread, begun, stages, every, &token));
        Self { shared, thread: Some(thread) }
    }

    /// Sets the processes that run now.
    pub(super) fn look_at(&self, seats: Vec<Seat>) {
        *lock(&self.shared.seats) = seats;
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.shared.seen)
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        *lock(&self.shared.is_over) = true;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn watch(shared: &Shared, begun: Instant, mut stages: Stages, every: Duration, token: &str) {
    let mut addresses: BTreeMap<u32, SocketAddr> = BTreeMap::new();
    let mut next_stage = Instant::now() + every;
    while !*lock(&shared.is_over) {
        let seats = lock(&shared.seats).clone();
        addresses.retain(|number, _| seats.iter().any(|seat| seat.number == *number));
        let stage = (Instant::now() >= next_stage).then(|| {
            next_stage += every;
            stages.next()
        });
        for seat in &seats {
            let known = addresses.get(&seat.number).copied().or_else(|| address_in(&seat.log));
            let Some(address) = known else { continue };
            addresses.insert(seat.number, address);
            if let Some(percent) = stage {
                tell(shared, address, token, percent);
            }
            look(shared, begun, seat, address);
        }
        let mut seen = lock(&shared.seen);
        for (number, record) in &mut seen.records {
            if !record.has_ended && !seats.iter().any(|seat| seat.number == *number) {
                record.end();
            }
        }
        let ended = seen.records.values_mut().filter(|record| record.has_ended);
        let _ = ended.rev().skip(DRAWN).try_for_each(|record| record.forget().then_some(()));
        drop(seen);
        std::thread::sleep(LOOK);
    }
}

/// Sets the share of a process. A paused, leaving or dead process does not answer; its successor
/// starts with its configured share.
fn tell(shared: &Shared, address: SocketAddr, token: &str, percent: u8) {
    let answer = http::put(address, "/rollout", token, &format!("{{\"percent\": {percent}}}"));
    let mut seen = lock(&shared.seen);
    seen.percent = percent;
    match answer {
        Ok(_) => seen.stages += 1,
        Err(error) => {
            let error = error.to_string();
            if error.starts_with("PUT") && !error.contains(" 503 ") {
                seen.refused += 1;
                seen.last_refusal = Some(error);
            }
        }
    }
}

fn look(shared: &Shared, begun: Instant, seat: &Seat, address: SocketAddr) {
    let bytes = resident_bytes(seat.process);
    let rollout = http::get_soon(address, "/rollout")
        .ok()
        .and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let page = http::get_soon(address, "/metrics").ok();
    let at = begun.elapsed().as_secs_f64();
    let mut seen = lock(&shared.seen);
    let Seen { records, moved, .. } = &mut *seen;
    let record = records.entry(seat.number).or_insert_with(|| Record::new(seat.process, at));
    record.to = at;
    if let Some(bytes) = bytes {
        record.bytes.push(at, bytes);
    }
    if let Some(page) = page {
        moved.add(&mut record.page, &page);
        record.restarts = record.restarts.max(record.page.sum_of("_actor_restarted_total"));
    }
    let Some(rollout) = rollout else { return };
    if let Some(percent) = rollout["percent"].as_f64() {
        record.percent.push(at, percent);
    }
    if let Some(moving) = rollout["slots"]["moving"].as_f64() {
        record.moving.push(at, moving);
    }
    record.roll_backs = rollout["roll_backs"].as_u64().unwrap_or(record.roll_backs);
    let stuck = rollout["stuck"].as_array().map_or(0, |stuck| stuck.len() as u64);
    record.stuck = record.stuck.max(stuck);
}

/// Where a process listens, once its log says so.
fn address_in(log: &Path) -> Option<SocketAddr> {
    let mut said = Vec::new();
    File::open(log).ok()?.take(BEGIN).read_to_end(&mut said).ok()?;
    let said = String::from_utf8_lossy(&said);
    let (_, rest) = said.split_once("http://")?;
    rest.split_once(": /livez")?.0.parse().ok()
}

/// The resident memory of a process.
fn resident_bytes(process: u32) -> Option<f64> {
    let kib = if cfg!(target_os = "linux") {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()?
    } else {
        let said = std::process::Command::new("ps")
            .args(["-o", "rss=", "-p", &process.to_string()])
            .output()
            .ok()?;
        String::from_utf8_lossy(&said.stdout).trim().parse::<f64>().ok()?
    };
    Some(kib * 1_024.0)
}

/// Up and down.
const ROUND: [u8; 6] = [10, 50, 100, 50, 10, 0];
/// One in this many changes jumps to another stage, as a manual switch or a roll-back does.
const JUMP: u64 = 6;

pub(super) struct Stages {
    dice: Dice,
    at: usize,
}

impl Stages {
    pub(super) fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), at: 0 }
    }

    pub(super) fn next(&mut self) -> u8 {
        if self.dice.below(JUMP) == 0 {
            self.at = usize::try_from(self.dice.below(ROUND.len() as u64)).unwrap_or(0);
        }
        let percent = ROUND[self.at];
        self.at = (self.at + 1) % ROUND.len();
        percent
    }
}

#[cfg(test)]
mod tests {
    use super::{Stages, address_in, resident_bytes};

    #[test]
    fn t5_a_process_says_where_it_listens() {
        let log = std::env::temp_dir().join(format!("soak-address-{}.log", std::process::id()));
        let mut found = Vec::new();
        for said in
            ["starts\n", "starts\nhttp://127.0.0.1:91", "\nhttp://127.0.0.1:9123: /livez /readyz\n"]
        {
            std::fs::write(&log, said).expect("written");
            found.push(address_in(&log).map(|address| address.port()));
        }
        std::fs::remove_file(log).expect("it is there");
        assert_eq!(found, [None, None, Some(9123)]);
    }

    #[test]
    fn t5_memory_of_a_process_is_that_of_the_system() {
        let own = resident_bytes(std::process::id()).expect("this process lives");
        assert!(own > 100_000.0, "{own}");
        assert_eq!(resident_bytes(u32::MAX), None);
    }

    #[test]
    fn t5_stages_go_up_and_down_and_a_seed_repeats_them() {
        let of = |seed| {
            let mut stages = Stages::new(seed);
            (0..600).map(|_| stages.next()).collect::<Vec<_>>()
        };
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
        let pairs: Vec<_> = of(3).windows(2).map(|pair| (pair[0], pair[1])).collect();
        for pair in [(0, 10), (10, 50), (50, 100), (100, 50), (50, 10), (10, 0)] {
            assert!(pairs.contains(&pair), "{pair:?}");
        }
        assert!(pairs.iter().any(|pair| [(100, 0), (0, 100), (100, 10), (0, 50)].contains(pair)));
    }
}
