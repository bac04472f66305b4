//! A folder of its own for each run, so that two runs at once do not write to the same ledgers.
//! What ended runs have left is removed when the next one begins, never while it could be read.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use xtask_base::process::Result;

/// The file whose lock says that the run goes on; the system releases it with the process.
const LOCK: &str = "lock";

/// An empty folder that no other run uses.
pub(crate) struct RunFolder {
    path: PathBuf,
    /// Held for as long as the run goes on.
    _lock: File,
}

impl RunFolder {
    /// Makes one below `base`, where all runs of this kind have theirs, and says where.
    pub(crate) fn create(base: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(base)?;
        // One run after the other, or one would remove the folder that another is about to lock.
        let entry = File::create(base.join(LOCK))?;
        entry.lock()?;
        for entry in fs::read_dir(base)? {
            let path = entry?.path();
            if path.is_dir() && has_ended(&path) {
                fs::remove_dir_all(&path)?;
            }
        }
        let path = (1_u32..)
            .map(|number| base.join(format!("{name}-{}-{number}", std::process::id())))
            .find(|path| !path.exists())
            .ok_or("too many runs")?;
        fs::create_dir(&path)?;
        let lock = File::create(path.join(LOCK))?;
        lock.lock()?;
        eprintln!("ledgers and logs: {}", path.display());
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether nobody holds the lock. A folder without one is of an earlier version.
fn has_ended(folder: &Path) -> bool {
    match File::open(folder.join(LOCK)) {
        Ok(lock) => !matches!(lock.try_lock(), Err(TryLockError::WouldBlock)),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::RunFolder;
    use std::fs;

    #[test]
    fn two_runs_at_once_have_folders_of_their_own() {
        let base = std::env::temp_dir().join(format!("xtask-runs-{}", std::process::id()));
        let first = RunFolder::create(&base, "kafka").expect("a folder");
        let ledger = first.path().join("001-consume.csv");
        fs::write(&ledger, "a line").expect("written");
        let second = RunFolder::create(&base, "kafka").expect("another one");
        assert_ne!(first.path(), second.path());
        assert_eq!(fs::read_to_string(&ledger).expect("still there"), "a line");

        let ended = second.path().to_path_buf();
        drop(second);
        assert!(ended.exists(), "the ledgers of a run outlive it");
        let third = RunFolder::create(&base, "kafka").expect("a third one");
        assert!(ledger.exists(), "a run that goes on keeps its files");
        assert!(!third.path().join("config.yaml").exists());
        let left = fs::read_dir(&base).expect("it is there").flatten();
        assert_eq!(left.filter(|entry| entry.path().is_dir()).count(), 2);
        drop((first, third));
        fs::remove_dir_all(&base).expect("removed");
    }
}
