//! The ledgers that order services write: read while they grow, merged and judged. Shares no code
//! with the program that wrote them.

mod audit;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use xtask_base::process::Result;

use self::audit::Line;

pub(crate) use self::audit::{Audit, Excuse, Numbering, Snapshot, Verdict};

/// All ledgers that may still grow.
#[derive(Default)]
pub(crate) struct Ledgers(Vec<Tail>);

struct Tail {
    path: PathBuf,
    file: Option<File>,
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
    has_header: bool,
}

impl Ledgers {
    /// Adds a ledger, which may not exist yet.
    pub(crate) fn watch(&mut self, path: &Path) {
        self.0.push(Tail {
            path: path.to_owned(),
            file: None,
            rest: Vec::new(),
            has_header: false,
        });
    }

    /// Adds all new lines to the audit.
    pub(crate) fn read(&mut self, audit: &mut Audit) -> Result<()> {
        self.0.iter_mut().try_for_each(|tail| tail.read(audit))
    }

    /// Adds the rest of a ledger whose process has ended, and drops it. A killed process may have
    /// left half of its last line, which counts for nothing: that handler had not ended.
    pub(crate) fn finish(&mut self, path: &Path, audit: &mut Audit) -> Result<()> {
        if let Some(at) = self.0.iter().position(|tail| tail.path == path) {
            self.0.swap_remove(at).read(audit)?;
        }
        Ok(())
    }
}

impl Tail {
    fn read(&mut self, audit: &mut Audit) -> Result<()> {
        let cannot =
            |error: std::io::Error| format!("cannot read {}: {error}", self.path.display());
        let file = match &mut self.file {
            Some(file) => file,
            none => match File::open(&self.path) {
                Ok(file) => none.insert(file),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(cannot(error).into()),
            },
        };
        let mut piece = vec![0; 1 << 16];
        loop {
            let read = file.read(&mut piece).map_err(cannot)?;
            if read == 0 {
                return Ok(());
            }
            self.rest.extend_from_slice(&piece[..read]);
            let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let lines = String::from_utf8_lossy(&self.rest[..whole]);
            for line in lines.lines() {
                if !std::mem::replace(&mut self.has_header, true) {
                    continue;
                }
                let parsed = Line::parse(line);
                audit.note(parsed.ok_or_else(|| {
                    format!("{}: not a line of a ledger: {line}", self.path.display())
                })?);
            }
            drop(lines);
            self.rest.drain(..whole);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{Audit, Ledgers, Numbering};

    #[test]
    fn lines_are_read_once_they_are_whole() {
        let path = std::env::temp_dir().join(format!("ledger-tail-{}.csv", std::process::id()));
        let (mut ledgers, mut audit) = (Ledgers::default(), Audit::new(Numbering::OfPartitions));
        ledgers.watch(&path);
        ledgers.read(&mut audit).expect("a file that is not there yet is empty");
        let mut file = std::fs::File::create(&path).expect("a file");
        let mut over = Vec::new();
        for text in [
            "topic,par",
            "tition\norders,0,0,a,1,1,done,1,2,7\norders,0,1",
            ",a,2,1,done,3,4,7\n",
            "orders,",
        ] {
            file.write_all(text.as_bytes()).expect("written");
            ledgers.read(&mut audit).expect("read");
            over.push(audit.over());
        }
        assert_eq!(over, [0, 1, 2, 2]);
        ledgers.finish(&path, &mut audit).expect("half a line says nothing");
        std::fs::write(&path, "header\nnonsense\n").expect("written");
        ledgers.watch(&path);
        let error = ledgers.read(&mut audit).expect_err("it is no ledger").to_string();
        std::fs::remove_file(path).expect("it is there");
        assert!(error.ends_with("not a line of a ledger: nonsense"), "{error}");
    }
}
