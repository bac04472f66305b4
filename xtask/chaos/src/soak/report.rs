//! The report of a soak: a table, a JSON document and pictures.

use std::path::Path;

use serde_json::{Value, json};

use super::Args;
use super::checks::Check;
use super::memory::Memory;
use super::record::{Record, Series};
use super::run::State;
use xtask_base::plot::{self, Line, Panel};
use xtask_base::process::{Result, write_file};
use xtask_base::table;

const HEADER: [&str; 9] =
    ["process", "from", "lived", "MiB", "most", "growth", "restarts", "roll-backs", "stuck"];
/// Processes of the table: the first, and those that lived longest. The JSON has all of them.
const ROWS: usize = 12;

/// The table, and a line for each check.
pub(super) fn text(state: &State, checks: &[Check]) -> String {
    let mut longest: Vec<(&u32, &Record)> = state.seen.records.iter().collect();
    longest.sort_by(|(_, a), (_, b)| (b.to - b.from).total_cmp(&(a.to - a.from)));
    longest.truncate(ROWS);
    longest.sort_by_key(|(number, _)| **number);
    let rows: Vec<_> = longest.into_iter().map(|(number, record)| row(*number, record)).collect();
    let mut text = table::render(&HEADER, &rows);
    let left_out = state.seen.records.len().saturating_sub(ROWS);
    if left_out > 0 {
        text += &format!("and {left_out} that lived shorter\n");
    }
    let handled = state.verdict.handled;
    text += &format!(
        "\n{handled} messages handled in {:.0} s, {} faults, memory: {}\n",
        state.seconds,
        state.marks.len(),
        Memory::rule()
    );
    for Check { what, is_met, found } in checks {
        text += &format!("{}  {what:<26} {found}\n", if *is_met { "ok  " } else { "FAIL" });
    }
    state.findings.iter().for_each(|finding| text += &format!("{finding}\n"));
    text
}

fn row(number: u32, record: &Record) -> Vec<String> {
    let memory = record.memory();
    let figure = |value: fn(Memory) -> f64| {
        memory.map_or_else(|| "-".to_owned(), |memory| table::number(value(memory)))
    };
    vec![
        number.to_string(),
        format!("{:.0} s", record.from),
        format!("{:.0} s", record.to - record.from),
        figure(|memory| memory.median_mib),
        figure(|memory| memory.most_mib),
        memory.map_or_else(|| "-".to_owned(), |memory| format!("{:+.1} %", memory.growth * 100.0)),
        record.restarts.to_string(),
        record.roll_backs.to_string(),
        record.stuck.to_string(),
    ]
}

/// Writes `report.json` and `soak.svg` into the folder.
pub(super) fn write(
    folder: &Path,
    broker: &str,
    args: &Args,
    state: &State,
    checks: &[Check],
) -> Result<()> {
    let processes: Vec<Value> =
        state.seen.records.iter().map(|(number, record)| process(*number, record)).collect();
    let report = json!({
        "broker": broker,
        "seed": args.seed,
        "rate": args.rate,
        "seconds": state.seconds,
        "published": state.published,
        "verdict": state.verdict,
        "restarts": { "explained": state.explained, "unexplained": state.unexplained },
        "stages": { "taken": state.seen.stages, "refused": state.seen.refused },
        "memory_rule": Memory::rule(),
        "checks": checks,
        "faults": state.marks,
        "processes": processes,
        "metrics": state.seen.moved.values(),
        "throughput": state.rates.points(),
        "findings": state.findings,
        "failures": state.failures,
    });
    write_file(&folder.join("report.json"), &(serde_json::to_string_pretty(&report)? + "\n"))?;
    write_file(&folder.join("soak.svg"), &picture(state)?)
}

fn process(number: u32, record: &Record) -> Value {
    json!({
        "process": number,
        "from": record.from,
        "to": record.to,
        "memory": record.memory(),
        "restarts": record.restarts,
        "roll_backs": record.roll_backs,
        "stuck": record.stuck,
        "resident_bytes": record.bytes.points(),
        "percent": record.percent.points(),
        "moving": record.moving.points(),
    })
}

fn picture(state: &State) -> Result<String> {
    let marks: Vec<f64> = state.marks.iter().map(|mark| mark.at).collect();
    let lines = |of: fn(&Record) -> &Series, scale: f64| {
        let records = state.seen.records.iter();
        let scaled =
            |record| of(record).points().iter().map(|(at, value)| (*at, value * scale)).collect();
        records
            .map(|(number, record)| Line { name: number.to_string(), points: scaled(record) })
            .collect()
    };
    let handled = Line { name: "handled".to_owned(), points: state.rates.points().to_vec() };
    let panel = |title, unit, lines| Panel { title, unit, lines, marks: &marks };
    let panels = [
        panel(
            "Resident memory of each process, with the faults",
            "MiB",
            lines(|record| &record.bytes, 1.0 / 1_048_576.0),
        ),
        panel("Messages a second", "short", vec![handled]),
        panel("Share of the keys on actors", "%", lines(|record| &record.percent, 1.0)),
        panel("Slots on their way", "short", lines(|record| &record.moving, 1.0)),
    ];
    plot::render(&panels, state.seconds.max(1.0))
}

#[cfg(test)]
mod tests {
    use super::super::record::Record;
    use super::super::run::{Mark, State};
    use super::{Series, picture, text};
    use crate::ledger::Verdict;
    use crate::soak::checks;

    fn state() -> State {
        let mut state = State {
            seconds: 600.0,
            published: Some(1_000),
            verdict: Verdict { handled: 1_000, ..Verdict::default() },
            open: 0,
            late: 0,
            findings: Vec::new(),
            marks: vec![Mark { at: 300.0, fault: "kill".to_owned() }],
            rates: Series::new(10),
            seen: super::super::observer::Seen { stages: 3, ..Default::default() },
            unexplained: 0,
            explained: 1,
            failures: Vec::new(),
            has_excuses: true,
        };
        let mut record = Record::new(77, 0.0);
        for at in 0..=200 {
            record.to = f64::from(at) * 3.0;
            record.bytes.push(record.to, 5e7);
            record.percent.push(record.to, 50.0);
        }
        state.seen.records.insert(1, record);
        state
    }

    #[test]
    fn t5_every_broken_promise_fails_its_line() {
        let failed = |change: fn(&mut State)| {
            let mut state = state();
            change(&mut state);
            let checks = checks::of(&state, false);
            checks
                .into_iter()
                .filter(|check| !check.is_met)
                .map(|check| check.what)
                .collect::<Vec<_>>()
        };
        assert!(failed(|_| ()).is_empty());
        assert_eq!(failed(|state| state.verdict.lost = 1), ["nothing lost"]);
        assert_eq!(failed(|state| state.published = None), ["nothing lost"]);
        assert_eq!(failed(|state| state.verdict.order_violations = 1), ["0 order violations"]);
        assert_eq!(failed(|state| state.verdict.duplicates = 1), ["0 unexplained duplicates"]);
        assert_eq!(failed(|state| state.unexplained = 1), ["0 unexplained restarts"]);
        assert_eq!(failed(|state| state.seen.refused = 1), ["every stage taken"]);
        assert_eq!(failed(|state| state.seen.stages = 0), ["every stage taken"]);
        assert_eq!(failed(|state| state.late = 1), ["the audit is complete"]);
        assert_eq!(
            failed(|state| state.failures.push("x".to_owned())),
            ["nothing else went wrong"]
        );
        let grows = |state: &mut State| {
            let record = state.seen.records.get_mut(&1).expect("it is there");
            for at in 201..400 {
                record.bytes.push(f64::from(at) * 3.0, 5e7 + f64::from(at) * 1e5);
            }
        };
        assert_eq!(failed(grows), ["memory flat after warm-up"]);
    }

    #[test]
    fn t5_table_and_picture_show_each_process_and_fault() {
        let state = state();
        let text = text(&state, &checks::of(&state, false));
        assert!(text.contains("47.68") && text.contains("ok    memory flat"), "{text}");
        let picture = picture(&state).expect("drawn");
        assert!(picture.contains("M247.0 56V172") && picture.contains(">1</text>"), "{picture}");
    }
}
