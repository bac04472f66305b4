//! The failed tests of a program, from what the test harness prints: the sum at the end names them,
//! so that nobody has to look for them in the whole output.

/// A failed test.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) test: String,
    /// What its panics said, without their backtraces.
    pub(crate) panics: Vec<String>,
}

/// A message with values may be long.
const LINES_OF_A_PANIC: usize = 8;

/// The tests whose output a program shows under `---- NAME stdout ----`.
pub(crate) fn of_output(output: &str) -> Vec<Failure> {
    let mut failures: Vec<Failure> = Vec::new();
    let mut left = 0;
    for line in output.lines() {
        let shown = line.strip_prefix("---- ").and_then(|line| line.strip_suffix(" stdout ----"));
        if let Some(test) = shown {
            failures.push(Failure { test: test.to_owned(), panics: Vec::new() });
            left = 0;
        } else if let Some(failure) = failures.last_mut() {
            if line.starts_with("thread '") && line.contains(" panicked at ") {
                left = LINES_OF_A_PANIC;
            } else if line.is_empty() || line.starts_with("stack backtrace:") {
                left = 0;
            }
            if left > 0 {
                failure.panics.push(line.to_owned());
                left -= 1;
            }
        }
    }
    failures
}

#[cfg(test)]
mod tests {
    use super::{Failure, of_output};

    #[test]
    fn failed_tests_are_named_with_what_they_said() {
        let output = "running 2 tests\ntest works ... ok\ntest breaks ... FAILED\n\nfailures:\n\n\
            ---- breaks stdout ----\na line of the test\n\n\
            thread 'breaks' (7) panicked at tests/it.rs:3:5:\nassertion failed: a == b\n\
            stack backtrace:\n   0: main\n\nfailures:\n    breaks\n\n\
            test result: FAILED. 1 passed; 1 failed; 0 ignored";
        let panics =
            ["thread 'breaks' (7) panicked at tests/it.rs:3:5:", "assertion failed: a == b"];
        let panics = panics.map(str::to_owned).to_vec();
        assert_eq!(of_output(output), [Failure { test: "breaks".to_owned(), panics }]);
    }
}
