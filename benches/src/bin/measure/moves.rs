//! Keys that change pools at full load, in turns: a broken promise fails the run, and the median of
//! the ratios is judged.

use buslane_benches::{Moves, median};
use std::process::ExitCode;

/// How much longer the 99th percentile may be while slots are on their way.
const MOST: f64 = 2.0;
const TURNS: usize = 3;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    run: Moves,
}

impl Args {
    pub(crate) fn run(self) -> ExitCode {
        let (mut ratios, mut wrong) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            let told = self.run.run();
            println!("{told}");
            for name in ["lost", "again", "violations", "overlaps"] {
                if told[name] != 0 {
                    wrong.push(format!("{name}: {}", told[name]));
                }
            }
            ratios.extend(told["ratio"].as_f64());
        }
        let ratio = median(ratios);
        println!(
            "{}",
            serde_json::json!({ "p99 while moving, of that at rest": ratio, "most": MOST })
        );
        if ratio > MOST {
            wrong.push(format!("p99 is {ratio:.2} times as long while slots are on their way"));
        }
        for line in &wrong {
            println!("wrong: {line}");
        }
        if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
