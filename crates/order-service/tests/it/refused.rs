//! What the program refuses: exit code 2, a message that names what is wrong, and nothing done.

use super::program;
use super::program::Program;

const HEADER: &str = "timestamp,case_id,seq,activity";

fn refused(name: &str, arguments: &[&str], variable: Option<(&str, &str)>, expected: &str) {
    let program = Program::new(name, arguments);
    let run = variable.into_iter().fold(program, Program::env).run();
    assert_eq!(run.code, Some(2), "{arguments:?} {variable:?}\n{run}");
    assert!(run.err.contains(expected), "{arguments:?} {variable:?} must say {expected:?}\n{run}");
    assert!(run.out.is_empty(), "{run}");
}

#[test]
fn bad_arguments_are_named_with_their_rule() {
    for (arguments, expected) in [
        (
            &["--topics", "0"][..],
            "'0' for '--topics <COUNT>': must be a whole number from 1 to 1000",
        ),
        (&["--topics", "1001"], "'--topics <COUNT>': must be a whole number from 1 to 1000"),
        (&["--aggregates", "0"], "'--aggregates <COUNT>': must be a whole number of at least 1"),
        (&["--events", "0"], "'--events <COUNT>': must be a whole number of at least 1"),
        (
            &["--events", "many"],
            "'many' for '--events <COUNT>': must be a whole number of at least 1",
        ),
        (&["--in-flight", "0"], "'--in-flight <COUNT>': must be a whole number from 1"),
        (&["--handler-ms", "1.5"], "'1.5' for '--handler-ms <MILLISECONDS>'"),
        (&["--idle", "0"], "'--idle <SECONDS>': must be a number of seconds above 0"),
        (&["--idle", "NaN"], "'--idle <SECONDS>': must be a number of seconds above 0"),
        (&["--fail-once", "101"], "'--fail-once <PERCENT>': must be a number from 0 to 100"),
        (
            &["--poison", "11", "--events", "10"],
            "--poison: must be at most the number of events (10), found 11",
        ),
        (&["--backlog", "0"], "'--backlog <COUNT>': must be a whole number of at least 1"),
        (
            &["--backlog", "12", "--events", "10"],
            "--backlog: must be at most the number of messages (11), found 12",
        ),
        (
            &["--backlog", "1", "--role", "consume"],
            "--backlog: needs --role all, found --role consume",
        ),
        (&["--poison", "1", "--no-faults"], "'--poison <COUNT>' cannot be used with '--no-faults'"),
        (&["--speed", "2"], "--replay <FILE>"),
        (&["--speed", "0", "--replay", "x"], "'--speed <N>': must be a number above 0"),
        (&["--replay", "x", "--events", "5"], "'--replay <FILE>' cannot be used with '--events"),
        (&["--role", "both"], "'both' for '--role <ROLE>'"),
        (&["--role", "publish"], "--role publish: the broker of memory:// lives in one process"),
        (&["--role", "consume"], "--role consume: the broker of memory:// lives in one process"),
        (
            &["--report", "both", "--ledger", "both"],
            "--report and --ledger must not name the same file, found both",
        ),
        (&["--report", "no/such/folder"], "--report no/such/folder: cannot be written"),
        (&["--ledger", "no/such/folder"], "--ledger no/such/folder: cannot be written"),
        (&["--http", "9000"], "'9000' for '--http <ADDRESS:PORT>'"),
        (&["--http-public"], "--http <ADDRESS:PORT>"),
        (
            &["--rate", "5", "--replay", "x", "--speed", "1"],
            "'--rate <COUNT>' cannot be used with '--speed <N>'",
        ),
        (&["--rate", "0"], "'--rate <COUNT>': must be a whole number of at least 1"),
        (&["--rollout", "50,10"], "the percentages of a plan must rise, found 10 after 50"),
        (&["--rollout", "101"], "must be a whole number from 1 to 100"),
        (&["--inject", "slow@50"], "--rollout <PLAN>"),
        (
            &["--rollout", "10", "--inject", "slow"],
            "must be slow, slow:1 to slow:10000, errors, errors:1",
        ),
        (
            &["--rollout", "10", "--inject", "slow:0@10"],
            "must be slow, slow:1 to slow:10000, errors, errors:1",
        ),
        (
            &["--rollout", "10", "--inject", "leak:5@10"],
            "must be slow, slow:1 to slow:10000, errors, errors:1",
        ),
        (
            &["--rollout", "10", "--inject", "errors:101@10"],
            "must be slow, slow:1 to slow:10000, errors, errors:1",
        ),
        (&["--rollout", "10", "--inject", "fast@10"], "must be slow, slow:1 to slow:10000"),
        (&["--rollout", "10", "--inject", "leak@0"], "and a percentage from 1 to 100"),
        (
            &["--rollout", "10,50", "--inject", "slow@51"],
            "--inject slow:300@51: the plan 10, 50 has no such stage",
        ),
        (
            &["--rollout", "10", "--role", "publish"],
            "--rollout: needs --role all, found --role publish",
        ),
        (&["--rollout", "10", "--backlog", "5"], "cannot be used with '--backlog"),
        (&["--nonsense"], "unexpected argument '--nonsense'"),
    ] {
        refused("arguments", arguments, None, expected);
    }
}

#[cfg(feature = "http")]
#[test]
fn o3_a_public_address_needs_leave() {
    for address in ["0.0.0.0:9000", "[::]:0", "192.0.2.1:80"] {
        let expected = format!(
            "--http: must be a loopback address unless --http-public is given, found {address}"
        );
        refused("public", &["--events", "1", "--http", address], None, &expected);
    }
}

/// A feature that is off is named before anything is done.
#[test]
fn what_is_not_part_of_the_build_names_its_feature() {
    let run = ["--events", "1"];
    for (is_built, scheme) in [(cfg!(feature = "kafka"), "kafka"), (cfg!(feature = "nats"), "nats")]
    {
        let url = format!("{scheme}://127.0.0.1:1");
        let expected =
            format!("{scheme}:// is not part of this build: build it with `--features {scheme}`");
        if !is_built {
            refused("url", &run, Some(("BUSLANE_URL", &url)), &expected);
        }
    }
    if !cfg!(feature = "http") {
        let expected = "--http: is not part of this build: build it with `--features http`";
        refused("http", &["--events", "1", "--http", "127.0.0.1:0"], None, expected);
    }
}

#[test]
fn s1_an_unreadable_environment_is_refused() {
    for (variable, expected) in [
        (
            ("BUSLANE_USE_ACTOR_POOL", "maybe"),
            "variable BUSLANE_USE_ACTOR_POOL: must be true, false, 1 or 0",
        ),
        (("MEMORY_ACTOR_POOL_SIZE", "0"), "variable MEMORY_ACTOR_POOL_SIZE: "),
        (
            ("BUSLANE_URL", "ftp://x"),
            "variable BUSLANE_URL: must begin with memory://, kafka:// or nats://",
        ),
        (
            ("BUSLANE_CONFIG", "no-such-file.yaml"),
            "no-such-file.yaml: cannot read the configuration file",
        ),
    ] {
        refused("environment", &["--events", "1"], Some(variable), expected);
    }
}

#[test]
fn an_unreadable_log_is_refused_with_line_and_column() {
    let row = |row: &str| format!("{HEADER}\n2010-03-31T16:59:42Z,c,1,Accepted\n{row}\n");
    let long = "c".repeat(257);
    for (text, expected) in [
        (String::new(), "there is no column \"timestamp\""),
        (format!("{HEADER}\n"), "there is no event in it"),
        ("timestamp,case,seq,activity\n".into(), " line 1: there is no column \"case_id\""),
        (format!("{HEADER},seq\n"), " line 1: two columns are called \"seq\""),
        (format!("{HEADER},sent_ns\n"), " line 1: a column must not be called \"sent_ns\""),
        (
            row("yesterday,c,2,Accepted"),
            " line 3, column 1 (timestamp): must be a time as RFC 3339 has it",
        ),
        (
            row("2010-03-31T16:59:43Z,,1,Accepted"),
            " line 3, column 2 (case_id): aggregate_id is required",
        ),
        (
            row("2010-03-31T16:59:43Z,a b,1,Accepted"),
            " line 3, column 2 (case_id): invalid aggregate_id: byte 0x20",
        ),
        (
            row(&format!("2010-03-31T16:59:43Z,{long},1,Accepted")),
            " line 3, column 2 (case_id): invalid aggregate_id: 257",
        ),
        (
            row("2010-03-31T16:59:43Z,c,two,Accepted"),
            " line 3, column 3 (seq): must be a whole number of at least 1",
        ),
        (
            row("2010-03-31T16:59:43Z,c,0,Accepted"),
            " line 3, column 3 (seq): must be a whole number of at least 1",
        ),
        (
            row("2010-03-31T16:59:43Z,c,1,Accepted"),
            " line 3, column 3 (seq): must grow within its case, found 1 after 1",
        ),
        (row("2010-03-31T16:59:43Z,c,2, "), " line 3, column 4 (activity): must not be blank"),
        (row("2010-03-31T16:59:43Z,c,2"), " line 3: has 3 columns, the first line has 4"),
    ] {
        let log = program::plain("bad.csv", &text);
        refused("log", &["--replay", log.to_str().unwrap()], None, expected);
    }
}

#[test]
fn an_unreadable_log_file_is_refused() {
    let not_utf8 = program::plain("latin1.csv", "");
    std::fs::write(
        &not_utf8,
        [HEADER.as_bytes(), b"\n2010-03-31T16:59:42Z,c,1,caf\xe9\n"].concat(),
    )
    .unwrap();
    let cut = program::gzip("cut.csv.gz");
    let packed = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &packed[..packed.len() / 2]).unwrap();
    for (log, expected) in [
        ("no-such-log.csv".into(), "--replay no-such-log.csv: cannot be read: "),
        (env!("CARGO_TARGET_TMPDIR").into(), "must be a file"),
        (
            program::plain("text.csv.gz", &program::text()),
            "its name ends in .gz, but it is not gzip",
        ),
        (not_utf8, " line 2, column 4 (activity): must be UTF-8"),
        (cut, "cannot be read to its end"),
    ] {
        refused("file", &["--replay", log.to_str().unwrap()], None, expected);
    }
}
