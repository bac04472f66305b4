//! A side in a process of its own, and what it has measured.

use super::BrokerKind;
use clap::ValueEnum;
use serde_json::Value;
use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

/// What a side has measured.
#[derive(Debug)]
pub struct Measured(Value);

impl Measured {
    /// One value.
    ///
    /// # Panics
    /// When the side has not measured it.
    #[must_use]
    pub fn get(&self, name: &str) -> f64 {
        self.0[name].as_f64().unwrap_or_else(|| panic!("no {name} in {}", self.0))
    }
}

/// A program that runs sides.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    /// What it is told before the words of a side.
    before: Vec<String>,
}

impl Program {
    /// This one, on a broker.
    ///
    /// # Panics
    /// When the system does not say where it is.
    #[must_use]
    pub fn this(broker: BrokerKind) -> Self {
        let path = std::env::current_exe().expect("this program has a path");
        let broker = broker.to_possible_value().expect("a choice").get_name().to_owned();
        Self { path, before: vec!["side".to_owned(), "--broker".to_owned(), broker] }
    }

    /// Another one.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path, before: vec!["side".to_owned()] }
    }

    /// Runs a side, given as words, in a process of its own.
    ///
    /// # Panics
    /// When it fails; it has said why.
    #[must_use]
    pub fn measure(&self, words: &str) -> Measured {
        let side = Command::new(&self.path)
            .args(&self.before)
            .args(words.split_whitespace())
            .stderr(Stdio::inherit())
            .output()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", self.path.display()));
        assert!(side.status.success(), "`{words}`: {}", side.status);
        Measured(serde_json::from_slice(&side.stdout).expect("a side prints JSON"))
    }
}
