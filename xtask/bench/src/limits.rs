//! `cargo xtask bench-limits`: each stated figure beside its physical limit. The worker measures
//! and judges; this file prints and writes the results.

use std::path::PathBuf;

use serde_json::Value;

use super::provenance::Provenance;
use super::{build_peers, build_worker};
use xtask_base::process::{Result, command, each_line, write_file};
use xtask_base::table;
use xtask_brokers::Kind;

#[derive(clap::Args)]
pub struct Args {
    /// Which part to measure
    backend: Backend,
    /// Write the figures as a JSON array: name, value, limit, ratio, target, pass, turns, ranges of
    /// the turns, and the run with machine, date, commit and versions
    #[arg(long)]
    json: Option<PathBuf>,
    /// Also measure RustStream, in turns with the bus (kafka alone; builds benches/peers, which no
    /// other command does)
    #[arg(long)]
    peers: bool,
    /// Arguments of the worker: figures to measure, by the start of their names, and for a broker
    /// --messages N
    #[arg(last = true)]
    worker: Vec<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Backend {
    /// The pools and the bus on the embedded broker
    Memory,
    /// The bus on a real Kafka, started for the time of the command unless KAFKA_BOOTSTRAP_SERVERS
    /// names one
    Kafka,
    /// The bus on a real NATS, started for the time of the command unless NATS_URL names one
    Nats,
}

impl Backend {
    const fn kind(self) -> Option<Kind> {
        match self {
            Self::Memory => None,
            Self::Kafka => Some(Kind::Kafka),
            Self::Nats => Some(Kind::Nats),
        }
    }
}

/// The keys of every line, in the order of the table.
const KEYS: [&str; 6] = ["name", "value", "limit", "ratio", "target", "pass"];

/// Runs the worker; fails when one figure falls short.
pub fn run(args: &Args) -> Result<()> {
    if args.peers && !matches!(args.backend, Backend::Kafka) {
        return Err("--peers: only the backend kafka has peers".into());
    }
    let mut worker = command(build_worker()?);
    worker.arg("limits").arg(match args.backend {
        Backend::Memory => "memory",
        Backend::Kafka => "kafka",
        Backend::Nats => "nats",
    });
    if args.peers {
        worker.arg("--peer").arg(build_peers()?);
    }
    let broker = match args.backend {
        Backend::Memory => None,
        Backend::Kafka => xtask_brokers::kafka_for_figures()?,
        Backend::Nats => xtask_brokers::nats_for_tests()?,
    };
    worker.args(&args.worker).envs(broker.iter().flat_map(xtask_brokers::BrokerGuard::variables));
    let kind = args.backend.kind();
    let provenance = serde_json::to_value(Provenance::new(
        kind.map(|kind| (kind, xtask_brokers::version(kind))),
    )?)?;
    let mut output = Vec::new();
    let ended = each_line(&mut worker, |line| output.push(line.to_owned()));
    // Frees the machine of the broker as early as possible.
    drop(broker);
    let mut lines = match read(output.iter().map(String::as_str)) {
        Err(error) => return ended.and(Err(error)),
        Ok(lines) => lines,
    };
    let rows: Vec<Vec<String>> =
        lines.iter().map(|line| KEYS.map(|key| shown(&line[key])).to_vec()).collect();
    println!("\n{}", table::render(&KEYS, &rows));
    if let Some(file) = &args.json {
        lines.iter_mut().for_each(|line| line["run"] = provenance.clone());
        write_file(file, &(serde_json::to_string_pretty(&lines)? + "\n"))?;
    }
    let short: Vec<String> = lines
        .iter()
        .filter(|line| line["pass"] == Value::Bool(false))
        .map(|line| shown(&line["name"]))
        .collect();
    if !short.is_empty() {
        return Err(format!("below the target: {}", short.join(", ")).into());
    }
    // A worker that judged all figures good and then failed has not measured all of them.
    ended
}

/// Reads the worker's JSON lines; other lines are passed by.
fn read<'a>(output: impl Iterator<Item = &'a str>) -> Result<Vec<Value>> {
    let mut lines = Vec::new();
    for text in output.filter(|line| line.starts_with('{')) {
        let line: Value = serde_json::from_str(text)
            .map_err(|error| format!("{error} in the worker's line {text}"))?;
        let missing: Vec<&str> = KEYS.into_iter().filter(|key| line.get(key).is_none()).collect();
        if !missing.is_empty() || !line["pass"].is_boolean() {
            return Err(format!(
                "the worker's line {text} lacks {} or its `pass` is neither true nor false",
                missing.join(", ")
            )
            .into());
        }
        lines.push(line);
    }
    if lines.is_empty() { Err("the worker has measured nothing".into()) } else { Ok(lines) }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(pass) => if *pass { "ok" } else { "FAILED" }.to_owned(),
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), table::number),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{read, shown};

    const GOOD: &str =
        r#"{"name":"lanes","value":0.1,"limit":0.08,"ratio":1.25,"target":"<= 2","pass":true}"#;

    #[test]
    fn lines_are_read_and_incomplete_ones_refused() {
        assert_eq!(read(["warming up", GOOD].into_iter()).expect("good").len(), 1);
        for bad in ["", "{", r#"{"name":"lanes"}"#, &GOOD.replace("true", "1")] {
            assert!(read([bad].into_iter()).is_err(), "{bad}");
        }
    }

    #[test]
    fn cells() {
        for (value, cell) in [
            (json!(null), "-"),
            (json!(3_000_000), "3000000"),
            (json!(0.12345), "0.1235"),
            (json!(true), "ok"),
            (json!("x"), "x"),
        ] {
            assert_eq!(shown(&value), cell);
        }
    }
}
