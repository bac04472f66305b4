//! W3C Trace Context, rule by rule. SPEC: O5

use super::*;
use TraceContextError as Error;
use proptest::prelude::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn headers(list: &[(&str, &str)]) -> Headers {
    list.iter().map(|(name, value)| (*name, value.as_bytes())).collect()
}

#[test]
fn o5_a_traceparent_is_read_and_written() {
    let context = TraceContext::parse(PARENT).unwrap();
    assert_eq!(context.trace_id(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
    assert_eq!(
        (context.span_id(), context.is_sampled(), context.state()),
        (0x00f0_67aa_0ba9_02b7, true, "")
    );
    assert_eq!(context.to_string(), PARENT);
    assert_eq!(TraceContext::new(context.trace_id(), context.span_id(), true), Some(context));
    assert_eq!((TraceContext::new(0, 1, true), TraceContext::new(1, 0, true)), (None, None));
}

#[test]
fn o5_each_rule_of_a_traceparent_is_an_error() {
    let with = |range: std::ops::Range<usize>, part: &str| {
        let mut text = PARENT.to_owned();
        text.replace_range(range, part);
        text
    };
    for (text, error) in [
        (String::new(), Error::Length(0)),
        (PARENT[..54].to_owned(), Error::Length(54)),
        (format!("{PARENT}-"), Error::Length(56)),
        (format!("{PARENT} "), Error::Length(56)),
        (format!("01{}.what-will-be", &PARENT[2..]), Error::Length(68)),
        (with(0..2, "ff"), Error::Version),
        (with(0..2, "0x"), Error::Version),
        (with(0..2, "0A"), Error::Version),
        (with(2..3, "_"), Error::Dash),
        (with(35..36, "0"), Error::Dash),
        (with(52..53, " "), Error::Dash),
        (with(3..35, &"0".repeat(32)), Error::TraceId),
        (with(3..4, "g"), Error::TraceId),
        (with(3..4, "A"), Error::TraceId),
        (with(36..52, &"0".repeat(16)), Error::SpanId),
        (with(36..37, "F"), Error::SpanId),
        (with(53..55, ".1"), Error::Flags),
        (with(53..55, "0F"), Error::Flags),
    ] {
        assert_eq!(TraceContext::parse(&text), Err(error), "{text}");
        assert_eq!(TraceContext::of(&headers(&[("traceparent", &text)])), None, "{text}");
    }
}

#[test]
fn o5_a_later_version_is_read_as_far_as_it_is_known() {
    for text in [format!("01{}", &PARENT[2..]), format!("cc{}-what-will-be", &PARENT[2..])] {
        assert_eq!(TraceContext::parse(&text).unwrap().to_string(), PARENT, "{text}");
    }
    let flags = format!("{}ff", &PARENT[..53]);
    assert_eq!(TraceContext::parse(flags).unwrap().to_string(), format!("{}03", &PARENT[..53]));
}

#[test]
fn o5_headers_are_read_in_any_case_and_only_when_they_are_clear() {
    let state = |list: &[(&str, &str)]| {
        TraceContext::of(&headers(list)).map(|context| context.state().to_owned())
    };
    let parent = ("Traceparent", PARENT);
    assert_eq!(state(&[]), None);
    assert_eq!(state(&[("tracestate", "a=1")]), None);
    assert_eq!(state(&[("x", "y"), parent]).as_deref(), Some(""));
    assert_eq!(state(&[parent, ("Tracestate", "a=1,b=2")]).as_deref(), Some("a=1,b=2"));
    assert_eq!(
        state(&[("tracestate", "a=1"), parent, ("tracestate", ""), ("tracestate", "b=2")])
            .as_deref(),
        Some("a=1,b=2")
    );
    assert_eq!(state(&[parent, ("tracestate", "a=\u{e9}")]).as_deref(), Some(""));
    assert_eq!(state(&[parent, ("tracestate", "a=1\r\nX: y")]).as_deref(), Some(""));
    assert_eq!(state(&[parent, parent]), None);
}

#[test]
fn o5_a_record_is_a_part_of_one_trace() {
    let first = TraceContext::parse(PARENT).unwrap().with_state("a=1").unwrap();
    let record = Record::new("body")
        .with_key("k")
        .with_headers(headers(&[("x", "1"), ("x", "2")]))
        .with_trace(&first);
    assert!(record.has_trace());
    assert_eq!(TraceContext::of(&record.headers).as_ref(), Some(&first));
    let second = TraceContext::begin();
    let record = record.with_trace(&second);
    assert_eq!(TraceContext::of(&record.headers), Some(second.clone()));
    let names: Vec<_> = record.headers.iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names, ["x", "x", "traceparent"]);
    assert_ne!(second.trace_id(), TraceContext::begin().trace_id());
    assert!(second.is_sampled());
}

proptest! {
    #[test]
    fn o5_every_context_comes_back(trace_id in 1u128.., span_id in 1u64.., is_sampled: bool, state in "[ -~]{0,40}") {
        let context = TraceContext::new(trace_id, span_id, is_sampled).unwrap().with_state(state).unwrap();
        let record = Record::new("body").with_trace(&context);
        prop_assert_eq!(TraceContext::of(&record.headers), Some(context));
    }

    #[test]
    fn o5_no_bytes_make_it_panic(parent in prop::collection::vec(any::<u8>(), 0..80), state in prop::collection::vec(any::<u8>(), 0..80)) {
        let headers: Headers = [("traceparent", &parent[..]), ("tracestate", &state[..])].into_iter().collect();
        let _ = TraceContext::of(&headers);
        let _ = TraceContext::parse(&parent);
    }
}
