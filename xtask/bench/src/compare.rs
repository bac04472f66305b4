//! `cargo xtask bench-compare` (SPEC T1): the actor pool against the keyed pool on the same work.
//!
//! Each side runs in a process of its own, in interleaved pairs (AB, BA, AB, …), so that a drift of
//! the machine hits both. The verdict is on the median of the ratios within the pairs
//! (`verdict.rs`). The program `measure compare` does the work; this file starts it and collects.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use indicatif::{ProgressBar, ProgressStyle};
use xtask_base::process::{Result, command, write_file};
use xtask_brokers::Kind;

use super::chart::Curve;
use super::provenance::Provenance;
use super::verdict::{METRICS, Pair, Run, judge, render};
use super::{build_worker, chart};

#[derive(clap::Args)]
pub struct Args {
    /// How many pairs of runs; the stated limits are meant for 20 or more
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pairs: u64,
    /// Where: the pools alone (memory://), or buses on the broker at kafka://HOST:PORT or
    /// nats://HOST:PORT; kafka:// and nats:// start one for the time of the command, unless
    /// KAFKA_BOOTSTRAP_SERVERS or NATS_URL names one. Topics are made for the run and deleted after
    /// it
    #[arg(long, default_value = "memory://")]
    url: String,
    /// Write medians, intervals, limits and verdicts as JSON, with machine, date, commit and
    /// versions
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write a chart of both latency distributions as SVG
    #[arg(long)]
    chart: Option<PathBuf>,
}

/// Runs the pairs, prints the table, writes the files, and fails when a median ratio breaks its
/// limit.
pub fn run(args: &Args) -> Result<()> {
    let worker = build_worker()?;
    let place = Place::of(&args.url)?;
    let provenance = Provenance::new(broker_of(&args.url)?)?;
    let pairs = run_pairs(&worker, &place, args.pairs)?;
    // Frees the machine of the broker as early as possible.
    drop(place);
    let report = judge(&pairs);
    println!(
        "\nactor pool against keyed pool, {}, {} pairs, {} messages a run\n",
        args.url, report.pairs, report.messages_per_run
    );
    println!("{}", render(&report));
    if let Some(file) = &args.json {
        let mut document = serde_json::to_value(&report)?;
        document["run"] = serde_json::to_value(&provenance)?;
        write_file(file, &(serde_json::to_string_pretty(&document)? + "\n"))?;
    }
    if let Some(file) = &args.chart {
        let histogram = |side: fn(&Pair) -> &Run| {
            pairs.iter().flat_map(|pair| side(pair).histogram.clone()).collect()
        };
        let sides = [
            ("keyed pool", histogram(|pair| &pair.keyed)),
            ("actor pool", histogram(|pair| &pair.actor)),
        ];
        let title = format!("Latency of {} runs per pool", pairs.len());
        write_file(
            file,
            &chart::render(
                &title,
                sides.map(|(name, histogram)| Curve::new(name, histogram)).as_ref(),
            )?,
        )?;
    }
    let broken: Vec<&str> =
        report.metrics.iter().filter(|verdict| !verdict.pass).map(|verdict| verdict.name).collect();
    if broken.is_empty() {
        Ok(())
    } else {
        Err(format!("outside the limit: {}", broken.join(", ")).into())
    }
}

/// Kind and version of the broker that the URL names.
fn broker_of(url: &str) -> Result<Option<(Kind, String)>> {
    let (kind, servers) = match parse(url)? {
        Backend::Memory => return Ok(None),
        Backend::Kafka(servers) => (Kind::Kafka, servers),
        Backend::Nats(servers) => (Kind::Nats, servers),
    };
    let is_named = !servers.is_empty();
    let version = if is_named { "that of --url".to_owned() } else { xtask_brokers::version(kind) };
    Ok(Some((kind, version)))
}

fn run_pairs(worker: &Path, place: &Place, count: u64) -> Result<Vec<Pair>> {
    let progress = ProgressBar::new(count * 2).with_style(ProgressStyle::with_template(
        "{elapsed_precise} {wide_bar} run {pos}/{len} {msg}",
    )?);
    let one = |pool: &'static str, seed| {
        progress.set_message(pool);
        let run = run_side(worker, place, pool, seed);
        progress.inc(1);
        run
    };
    let mut pairs = Vec::new();
    for number in 0..count {
        // Both sides of a pair get the same seed, that is the same work.
        let pair = if number % 2 == 0 {
            let keyed = one("keyed", number)?;
            Pair { actor: one("actor", number)?, keyed }
        } else {
            let actor = one("actor", number)?;
            Pair { keyed: one("keyed", number)?, actor }
        };
        if pair.keyed.messages != pair.actor.messages {
            return Err(format!(
                "seed {number}: {} messages on the keyed side, {} on the actor side",
                pair.keyed.messages, pair.actor.messages
            )
            .into());
        }
        if progress.is_hidden() {
            eprintln!(
                "pair {}/{count}: keyed {:.2} s, actor {:.2} s",
                number + 1,
                pair.keyed.seconds,
                pair.actor.seconds
            );
        }
        pairs.push(pair);
    }
    progress.finish_and_clear();
    Ok(pairs)
}

fn run_side(worker: &Path, place: &Place, pool: &str, seed: u64) -> Result<Run> {
    let mut side = command(worker);
    side.args(["compare", "--pool", pool, "--seed", &seed.to_string()])
        .args(&place.arguments)
        .envs(place.variables.iter().cloned());
    let output = side.output()?;
    let name = format!("measure compare --pool {pool} --seed {seed}");
    if !output.status.success() {
        return Err(format!(
            "`{name}`: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
        .into());
    }
    read_run(&String::from_utf8_lossy(&output.stdout), pool)
        .map_err(|error| format!("`{name}`: {error}").into())
}

fn read_run(output: &str, pool: &str) -> Result<Run> {
    let line = output
        .lines()
        .rfind(|line| line.starts_with('{'))
        .ok_or("no JSON line on its standard output")?;
    let run: Run = serde_json::from_str(line)?;
    if run.pool != pool {
        return Err(format!("ran the pool {}", run.pool).into());
    }
    match METRICS
        .iter()
        .find(|metric| !((metric.value)(&run).is_finite() && (metric.value)(&run) > 0.0))
    {
        Some(metric) => Err(format!("{} is not above 0", metric.name).into()),
        None => Ok(run),
    }
}

pub(crate) struct Place {
    /// Arguments of the workers.
    pub(crate) arguments: Vec<String>,
    pub(crate) variables: Vec<(&'static str, String)>,
    topic: Option<Child>,
    /// Ends after the topic does.
    _broker: Option<xtask_brokers::BrokerGuard>,
}

/// The backend that the URL names.
#[derive(Debug, PartialEq, Eq)]
enum Backend<'a> {
    Memory,
    Kafka(&'a str),
    Nats(&'a str),
}

impl Place {
    /// Starts the broker and fills the topic that the URL asks for.
    pub(crate) fn of(url: &str) -> Result<Self> {
        match parse(url)? {
            Backend::Memory => Ok(Self {
                arguments: Vec::new(),
                variables: Vec::new(),
                topic: None,
                _broker: None,
            }),
            Backend::Kafka(servers) => {
                let broker =
                    if servers.is_empty() { xtask_brokers::kafka_for_tests()? } else { None };
                Self::with_topic(Kind::Kafka, servers, broker)
            }
            Backend::Nats(servers) => {
                let broker =
                    if servers.is_empty() { xtask_brokers::nats_for_tests()? } else { None };
                Self::with_topic(Kind::Nats, servers, broker)
            }
        }
    }

    /// A topic on the broker at `servers`, or on the one that was started, or on the one that the
    /// environment names.
    fn with_topic(
        kind: Kind,
        servers: &str,
        broker: Option<xtask_brokers::BrokerGuard>,
    ) -> Result<Self> {
        let program = build_worker()?;
        let variables = if servers.is_empty() {
            broker.iter().flat_map(xtask_brokers::BrokerGuard::variables).collect()
        } else {
            vec![(kind.variable(), xtask_brokers::check(kind, servers)?)]
        };
        eprintln!("filling a topic");
        let kind = kind.to_string();
        let mut topic = command(program);
        topic.args(["topic", "--broker", &kind]).envs(variables.iter().cloned());
        let mut topic = topic.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut name = String::new();
        if let Some(output) = topic.stdout.take() {
            BufReader::new(output).read_line(&mut name)?;
        }
        // From here on the topic is deleted on every path.
        let place = Self {
            arguments: ["--broker", &kind, "--topic", name.trim()].map(str::to_owned).to_vec(),
            variables,
            topic: Some(topic),
            _broker: broker,
        };
        if name.trim().is_empty() {
            Err("the topic could not be filled; its program has said why".into())
        } else {
            Ok(place)
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(mut topic) = self.topic.take() {
            drop(topic.stdin.take());
            if !topic.wait().is_ok_and(|status| status.success()) {
                eprintln!("the topic may be left on the broker");
            }
        }
    }
}

fn parse(url: &str) -> Result<Backend<'_>> {
    let rule = "is memory://, kafka://HOST:PORT or nats://HOST:PORT, or kafka:// or nats:// to have a broker started";
    match url.split_once("://") {
        Some(("memory", "")) => Ok(Backend::Memory),
        Some(("kafka", servers)) if !servers.contains('/') => Ok(Backend::Kafka(servers)),
        Some(("nats", servers)) if !servers.contains('/') => Ok(Backend::Nats(servers)),
        _ => Err(format!("--url {url}: the URL {rule}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Backend, parse, read_run};

    const LINE: &str = r#"{"pool":"keyed","messages":10,"seconds":0.5,"throughput_per_second":20.0,"p50_us":5,"p99_us":9.5,
        "p999_us":10,"peak_rss_bytes":1000,"histogram":[[5,9],[9.5,1]]}"#;

    #[test]
    fn a_worker_line_is_checked() {
        let line = LINE.replace('\n', "");
        assert_eq!(
            read_run(&format!("noise\n{line}\n"), "keyed").expect("good line").histogram[1],
            (9.5, 1)
        );
        for (output, pool) in [
            ("", "keyed"),
            (line.as_str(), "actor"),
            (&line.replace("9.5,", "0,"), "keyed"),
            ("{}", "keyed"),
        ] {
            assert!(read_run(output, pool).is_err(), "{output}");
        }
    }

    #[test]
    fn urls_name_a_backend_or_are_refused() {
        assert_eq!(parse("memory://").expect("good"), Backend::Memory);
        assert_eq!(parse("kafka://").expect("good"), Backend::Kafka(""));
        assert_eq!(parse("kafka://a:1,b:2").expect("good"), Backend::Kafka("a:1,b:2"));
        assert_eq!(parse("nats://").expect("good"), Backend::Nats(""));
        assert_eq!(parse("nats://a:1,b:2").expect("good"), Backend::Nats("a:1,b:2"));
        for bad in ["", "kafka", "a:1", "kafka://a:1/x", "nats://a:1/x", "memory://x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
