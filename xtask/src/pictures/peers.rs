//! Messages a second beside the peers and the limit of the same run, one group of bars for each
//! load, from the lines that `cargo xtask bench-limits kafka --peers --json FILE` writes.

use serde::Deserialize;
use xtask_base::process::Result;

use super::Source;
use super::sheet::{Anchor, LEFT, RIGHT, Sheet};

pub(super) const FILE: &str = "kafka-peers.json";

/// The bars of all groups begin here; the names stand to the left of them.
const BARS: f64 = 214.0;
/// The largest bar of a group ends here; the rates stand to the right of it.
const END: f64 = 770.0;
const BAR: f64 = 17.0;
const PITCH: f64 = 23.0;

/// A line of the file. The others of its keys are not drawn.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    name: String,
    value: f64,
    limit: f64,
    /// The same in all lines of a file; older files have none.
    run: Option<Run>,
}

/// When and where the file was measured.
#[derive(Debug, Deserialize)]
struct Run {
    /// UTC, as `2026-11-24T16:40:00Z`.
    date: String,
    machine: Machine,
    /// Names and versions; that of the broker is among them.
    versions: Vec<(String, String)>,
}

#[derive(Debug, Deserialize)]
struct Machine {
    processor: String,
    cores: usize,
}

/// The source as the file itself names it.
pub(super) fn source(lines: &[Line]) -> Option<Source> {
    let Run { date, machine, versions } = lines.iter().find_map(|line| line.run.as_ref())?;
    let broker = versions.iter().find(|(name, _)| name.eq_ignore_ascii_case("kafka"));
    let broker = broker.map_or(String::new(), |(_, version)| format!(", Kafka {version}"));
    let Machine { processor, cores } = machine;
    Some(Source {
        conditions: format!(
            "One process a side, in turns, medians; {cores} cores of {processor}{broker} on the same machine"
        ),
        date: date.split('T').next().unwrap_or_default().to_owned(),
    })
}

/// A load, as the file names it and as the picture does.
struct Load {
    /// Between the pool and the peer in the name of a line.
    prefix: &'static str,
    suffix: &'static str,
    title: &'static str,
    detail: &'static str,
    limit: &'static str,
}

const LOADS: [Load; 5] = [
    Load {
        prefix: "W1",
        suffix: " raw: messages a second",
        title: "No-op handler takes the message",
        detail: "1,000 keys, 8 partitions",
        limit: "bare client",
    },
    Load {
        prefix: "W1",
        suffix: " parsed: messages a second",
        title: "No-op handler takes the parsed envelope",
        detail: "1,000 keys, 8 partitions",
        limit: "bare client, not decoded",
    },
    Load {
        prefix: "W2",
        suffix: ": messages a second, 256 workers",
        title: "Handler waits 2 ms, 256 workers",
        detail: "1,000 keys, 4 partitions",
        limit: "bound of the workers",
    },
    Load {
        prefix: "W2",
        suffix: ": messages a second, 1000 workers",
        title: "Handler waits 2 ms, 1,000 workers",
        detail: "1,000 keys, 4 partitions",
        limit: "bound of the hottest key",
    },
    Load {
        prefix: "W4",
        suffix: ": messages a second, 1000 workers",
        title: "Handler waits 100 ms, 1,000 workers",
        detail: "1,000 keys, 8 partitions",
        limit: "bound of the hottest key",
    },
];

/// The bars of a load: name, style and messages a second.
type Bars = Vec<(String, &'static str, f64)>;

fn bars(load: &Load, lines: &[Line]) -> Bars {
    let named = |pool: &str| format!("{} {pool}{}", load.prefix, load.suffix);
    let find = |name: &str| lines.iter().find(|line| line.name == name);
    let keyed = named("keyed");
    // A line beside a peer has the rate of the bus too: of the same turns.
    let peers = |own: &str| {
        let start = format!("{own}, beside ");
        lines
            .iter()
            .filter_map(move |line| Some((line.name.strip_prefix(&start)?.to_owned(), line)))
    };
    let rate = |own: &str| {
        find(own).or_else(|| peers(own).next().map(|(_, line)| line)).map(|line| line.value)
    };
    let mut bars = Vec::new();
    if let Some(line) = find(&keyed) {
        bars.push((load.limit.to_owned(), "limit", line.limit));
    }
    for (pool, name) in [("keyed", "buslane, keyed workers"), ("actor", "buslane, actors")] {
        bars.extend(rate(&named(pool)).map(|rate| (name.to_owned(), pool, rate)));
    }
    bars.extend(peers(&keyed).map(|(peer, line)| (peer, "peer", line.limit)));
    bars
}

/// Draws the loads that were measured.
pub(super) fn draw(lines: &[Line], source: &Source) -> Result<String> {
    let groups: Vec<(&Load, Bars)> = LOADS
        .iter()
        .map(|load| (load, bars(load, lines)))
        .filter(|(_, bars)| bars.iter().any(|(_, class, _)| *class == "keyed"))
        .collect();
    if groups.is_empty() {
        return Err(format!("{FILE}: has no line of a load that the picture knows").into());
    }
    let mut sheet = Sheet::new(&title(lines));
    sheet.text(
        (LEFT, 62.0),
        "note",
        Anchor::Start,
        "Messages a second on Kafka. Each group has a scale of its own.",
    );
    let mut y = 90.0;
    for (load, bars) in &groups {
        sheet.path(&format!("M{LEFT} {y:.1}H{RIGHT}"), "grid");
        sheet.text((LEFT, y + 24.0), "head", Anchor::Start, load.title);
        sheet.text((RIGHT, y + 24.0), "small", Anchor::End, load.detail);
        y += 36.0;
        let most = bars.iter().fold(0.0, |most, (_, _, rate)| f64::max(most, *rate));
        for (name, class, rate) in bars {
            sheet.text((BARS - 10.0, y + 13.0), "note", Anchor::End, name);
            let width = rate / most * (END - BARS);
            sheet.bar((BARS, y), width, BAR, class);
            sheet.text((BARS + width + 8.0, y + 13.0), "head", Anchor::Start, &shown(*rate));
            y += PITCH;
        }
        y += 12.0;
    }
    let command = "cargo xtask bench-limits kafka --peers";
    Ok(sheet.finish(y + 50.0, &source.lines(command)))
}

/// The one thing that the picture shows: how much more is handled while handlers wait. Without such
/// a line, or when the peer keeps up, what the bars are.
fn title(lines: &[Line]) -> String {
    let start = "W2 keyed: messages a second, 256 workers, beside ";
    let beside = lines
        .iter()
        .filter_map(|line| Some((line.name.strip_prefix(start)?, line.value / line.limit)))
        .find(|(_, ratio)| *ratio >= 1.5);
    beside.map_or_else(
        || "buslane beside its peers and its limits".to_owned(),
        |(peer, ratio)| {
            format!("While handlers wait 2 ms, buslane handles {ratio:.1} times as much as {peer}")
        },
    )
}

/// Three digits and a unit.
fn shown(rate: f64) -> String {
    let (value, unit) = match rate {
        rate if rate >= 999_500.0 => (rate / 1e6, "M/s"),
        rate if rate >= 9_995.0 => (rate / 1e3, "k/s"),
        rate if rate >= 999.5 => return format!("{},{:03.0}/s", (rate / 1e3).floor(), rate % 1e3),
        rate => return format!("{rate:.0}/s"),
    };
    let digits = match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::{LOADS, Line, Source, bars, draw, shown, source as source_of, title};

    fn lines() -> Vec<Line> {
        [
            ("W1 keyed raw: messages a second", 450_000.0, 900_000.0),
            ("W1 keyed raw: messages a second, beside RustStream", 460_000.0, 400_000.0),
            ("W1 actor raw: messages a second, beside RustStream", 430_000.0, 410_000.0),
            ("W1 keyed raw: CPU us a message", 1.4, 0.8),
            ("W2 keyed: messages a second, 256 workers, beside RustStream", 70_000.0, 10_000.0),
        ]
        .map(|(name, value, limit)| Line { name: name.to_owned(), value, limit, run: None })
        .into()
    }

    fn source() -> Source {
        Source { conditions: "two cores".to_owned(), date: "November 2026".to_owned() }
    }

    #[test]
    fn a_load_has_its_limit_both_pools_and_its_peers() {
        let found = bars(&LOADS[0], &lines());
        let found: Vec<_> =
            found.iter().map(|(name, class, rate)| (name.as_str(), *class, *rate)).collect();
        assert_eq!(
            found,
            [
                ("bare client", "limit", 900_000.0),
                ("buslane, keyed workers", "keyed", 450_000.0),
                ("buslane, actors", "actor", 430_000.0),
                ("RustStream", "peer", 400_000.0),
            ]
        );
    }

    #[test]
    fn loads_that_were_not_measured_are_left_out() {
        let svg = draw(&lines(), &source()).expect("drawn");
        assert!(
            svg.contains(">450 k/s<") && svg.contains(">Handler waits 2 ms, 256 workers<"),
            "{svg}"
        );
        assert!(!svg.contains("100 ms") && svg.contains("two cores. November 2026."), "{svg}");
        assert!(draw(&lines()[3..4], &source()).is_err());
    }

    #[test]
    fn a_file_may_name_its_source() {
        assert!(source_of(&lines()).is_none());
        let text = r#"[{"name": "x", "value": 1, "limit": 2, "ratio": 0.5, "run": {
            "command": "bench-limits kafka --peers", "date": "2026-11-24T16:40:00Z", "commit": "a",
            "machine": {"processor": "EPYC", "cores": 2, "memory_mib": 1, "system": "Linux"},
            "versions": [["rustc", "1.95"], ["kafka", "4.3.1"]]}}]"#;
        let lines: Vec<Line> = serde_json::from_str(text).expect("lines");
        let source = source_of(&lines).expect("a source");
        assert_eq!(source.date, "2026-11-24");
        assert!(source.conditions.ends_with("2 cores of EPYC, Kafka 4.3.1 on the same machine"));
    }

    #[test]
    fn the_title_is_what_was_measured() {
        assert!(title(&lines()).ends_with("buslane handles 7.0 times as much as RustStream"));
        assert!(title(&lines()[..4]).ends_with("its limits"));
    }

    #[test]
    fn rates_have_three_digits() {
        for (rate, text) in [
            (5_581.4, "5,581/s"),
            (312.6, "313/s"),
            (73_840.0, "73.8 k/s"),
            (585_300.0, "585 k/s"),
            (1_062_000.0, "1.06 M/s"),
        ] {
            assert_eq!(shown(rate), text);
        }
    }
}
