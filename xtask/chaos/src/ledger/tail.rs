//! Ledgers that are still being written: each look reads what has come since the last one, and no
//! more.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::books::Books;
use super::line::Line;
use xtask_base::process::Result;

/// All ledgers that may still grow.
#[derive(Default)]
pub(crate) struct Ledgers(Vec<Tail>);

struct Tail {
    path: PathBuf,
    file: Option<File>,
    /// What was read of a line that is not whole yet.
    rest: Vec<u8>,
    has_header: bool,
}

impl Ledgers {
    /// This file is one, or will be.
    pub(crate) fn watch(&mut self, path: &Path) {
        self.0.push(Tail {
            path: path.to_owned(),
            file: None,
            rest: Vec::new(),
            has_header: false,
        });
    }

    /// Writes what is new into the books.
    pub(crate) fn read(&mut self, books: &mut Books) -> Result<()> {
        self.0.iter_mut().try_for_each(|tail| tail.read(books))
    }

    /// Nobody writes this one any more: what is left goes into the books, and it is forgotten. A
    /// process that was killed may have left half of its last line, which says nothing: that
    /// handler had not ended.
    pub(crate) fn finish(&mut self, path: &Path, books: &mut Books) -> Result<()> {
        if let Some(at) = self.0.iter().position(|tail| tail.path == path) {
            self.0.swap_remove(at).read(books)?;
        }
        Ok(())
    }
}

impl Tail {
    fn read(&mut self, books: &mut Books) -> Result<()> {
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
                books.note(parsed.ok_or_else(|| {
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
    use super::Ledgers;
    use crate::ledger::{Books, Numbering};
    use std::io::Write;

    #[test]
    fn lines_are_read_once_they_are_whole() {
        let path = std::env::temp_dir().join(format!("ledger-tail-{}.csv", std::process::id()));
        let (mut ledgers, mut books) = (Ledgers::default(), Books::new(Numbering::OfPartitions));
        ledgers.watch(&path);
        ledgers.read(&mut books).expect("a file that is not there yet is empty");
        let mut file = std::fs::File::create(&path).expect("a file");
        let mut over = Vec::new();
        for text in [
            "topic,par",
            "tition\norders,0,0,a,1,1,done,1,2,7\norders,0,1",
            ",a,2,1,done,3,4,7\n",
            "orders,",
        ] {
            file.write_all(text.as_bytes()).expect("written");
            ledgers.read(&mut books).expect("read");
            over.push(books.over());
        }
        assert_eq!(over, [0, 1, 2, 2]);
        ledgers.finish(&path, &mut books).expect("half a line says nothing");
        std::fs::write(&path, "header\nnonsense\n").expect("written");
        ledgers.watch(&path);
        let error = ledgers.read(&mut books).expect_err("it is no ledger").to_string();
        std::fs::remove_file(path).expect("it is there");
        assert!(error.ends_with("not a line of a ledger: nonsense"), "{error}");
    }
}
