//! Files that live as long as a test.

use std::path::PathBuf;

/// A new folder for temporary files.
///
/// # Drop behaviour
/// Dropping it removes the folder with all that is in it.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it; `name` is a part of its name.
    ///
    /// # Panics
    /// When that cannot be done.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(crate::server::unique(name));
        std::fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    /// Writes a file of it.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).expect("a file");
    }

    /// Where a file of this name is, or would be.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
