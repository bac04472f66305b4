//! What was seen of one process, in bounded memory however long it lives.

use super::memory::Memory;
use super::series::Page;

/// Values over time. At the limit every other value is dropped, and the sampling interval doubles.
#[derive(Debug, Clone)]
pub(super) struct Series {
    points: Vec<(f64, f64)>,
    most: usize,
    stride: usize,
    skipped: usize,
}

impl Series {
    /// A series of at most this many values.
    pub(super) const fn new(most: usize) -> Self {
        Self { points: Vec::new(), most, stride: 1, skipped: 0 }
    }

    pub(super) fn push(&mut self, at: f64, value: f64) {
        self.skipped += 1;
        if self.skipped < self.stride {
            return;
        }
        self.skipped = 0;
        self.points.push((at, value));
        if self.points.len() > self.most {
            self.thin();
            self.stride *= 2;
        }
    }

    pub(super) fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// The maximum number of values.
    pub(super) fn shrink(&mut self, most: usize) {
        while self.points.len() > most.max(1) {
            self.thin();
        }
        self.points.truncate(most);
        self.points.shrink_to_fit();
    }

    fn thin(&mut self) {
        let mut number = 0;
        self.points.retain(|_| {
            number += 1;
            number % 2 == 1
        });
    }
}

/// Numbers of values for a running and for an ended process.
const ALIVE: usize = 4_096;
const ENDED: usize = 64;

/// A process.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) process: u32,
    /// Seconds since the soak began.
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) has_ended: bool,
    pub(super) bytes: Series,
    pub(super) percent: Series,
    pub(super) moving: Series,
    /// Of actors, since the process began.
    pub(super) restarts: u64,
    pub(super) roll_backs: u64,
    /// The highest number of slots that did not move at one time.
    pub(super) stuck: u64,
    pub(super) page: Page,
    memory: Option<Memory>,
}

impl Record {
    pub(super) fn new(process: u32, from: f64) -> Self {
        Self {
            process,
            from,
            to: from,
            has_ended: false,
            bytes: Series::new(ALIVE),
            percent: Series::new(ALIVE),
            moving: Series::new(ALIVE),
            restarts: 0,
            roll_backs: 0,
            stuck: 0,
            page: Page::default(),
            memory: None,
        }
    }

    pub(super) fn memory(&self) -> Option<Memory> {
        if self.has_ended { self.memory } else { Memory::of(self.bytes.points()) }
    }

    /// Keeps the figures alone; whether there was more.
    pub(super) fn forget(&mut self) -> bool {
        let had_points = !self.bytes.points().is_empty();
        for series in [&mut self.bytes, &mut self.percent, &mut self.moving] {
            series.shrink(0);
        }
        had_points
    }

    /// Ends the series; only the values for the pictures stay.
    pub(super) fn end(&mut self) {
        self.memory = self.memory();
        self.has_ended = true;
        self.page = Page::default();
        for series in [&mut self.bytes, &mut self.percent, &mut self.moving] {
            series.shrink(ENDED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Record, Series};

    #[test]
    fn t5_a_long_series_keeps_its_shape_in_bounded_memory() {
        let mut series = Series::new(100);
        for at in 0..100_000 {
            series.push(f64::from(at), f64::from(at));
        }
        let points = series.points();
        assert!((50..=100).contains(&points.len()), "{}", points.len());
        assert!(points[0].0 < 2_000.0 && points[points.len() - 1].0 > 97_000.0, "{points:?}");
        let gaps: Vec<f64> = points.windows(2).skip(1).map(|pair| pair[1].0 - pair[0].0).collect();
        assert!(gaps.iter().all(|gap| *gap <= 2.0 * gaps[0]), "{gaps:?}");
    }

    #[test]
    fn t5_a_process_that_has_ended_keeps_its_judgement() {
        let mut record = Record::new(7, 0.0);
        for at in 0..200 {
            record.bytes.push(f64::from(at) * 5.0, 1e8);
        }
        let before = record.memory();
        record.end();
        assert!(before.is_some() && record.memory() == before && record.bytes.points().len() <= 64);
        assert!(record.forget() && !record.forget() && record.memory() == before);
    }
}
