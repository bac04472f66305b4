//! What a soak must show (SPEC T5), line by line.

use serde::Serialize;

use super::memory::Memory;
use super::run::State;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) what: &'static str,
    pub(super) is_met: bool,
    pub(super) found: String,
}

/// All checks; the soak passes when each of them does.
pub(super) fn of(state: &State, is_shared: bool) -> Vec<Check> {
    let check = |what, is_met, found: String| Check { what, is_met, found };
    let verdict = &state.verdict;
    let count = |number: u64| number.to_string();
    let handled = match state.published {
        Some(published) => format!("{} of {published} published", verdict.lost),
        None => "the publisher never ended".to_owned(),
    };
    let order = match (is_shared, verdict.order_violations) {
        (true, violations) => {
            format!("{violations}, which are no wonder where members share topics")
        }
        (false, violations) => count(violations),
    };
    let (judged, grown) = memories(state);
    let memory = match (judged, grown.as_slice()) {
        (0, _) => "no process lived long enough to be judged".to_owned(),
        (judged, []) => format!("{judged} processes judged, all flat"),
        (judged, grown) => format!("{} of {judged} are not: {}", grown.len(), grown.join("; ")),
    };
    let seen = &state.seen;
    let stages = match &seen.last_refusal {
        None => format!("{} taken", seen.stages),
        Some(why) => format!("{} taken, {} refused: {why}", seen.stages, seen.refused),
    };
    vec![
        check("nothing lost", state.published.is_some() && verdict.lost == 0, handled),
        check("0 order violations", is_shared || verdict.order_violations == 0, order),
        check(
            "0 unexplained duplicates",
            verdict.duplicates == 0,
            format!(
                "{}, and {} redelivered after a fault",
                verdict.duplicates, verdict.redelivered
            ),
        ),
        check(
            "0 unexplained stragglers",
            is_shared || state.has_excuses || verdict.stragglers == 0,
            format!("{} in a run with {} faults", verdict.stragglers, state.marks.len()),
        ),
        check(
            "0 unexplained restarts",
            state.unexplained == 0,
            format!(
                "{}, and {} after panics that the soak has caused",
                state.unexplained, state.explained
            ),
        ),
        check("memory flat after warm-up", grown.is_empty(), memory),
        check("every stage taken", seen.stages > 0 && seen.refused == 0, stages),
        check(
            "the audit is complete",
            state.late == 0,
            format!("{} lines came after their time", state.late),
        ),
        check("nothing else went wrong", state.failures.is_empty(), state.failures.join("; ")),
    ]
}

/// The number of judged processes, and those whose memory grows.
fn memories(state: &State) -> (usize, Vec<String>) {
    let judged: Vec<(u32, Memory)> = state
        .seen
        .records
        .iter()
        .filter_map(|(number, record)| Some((*number, record.memory()?)))
        .collect();
    let grown = judged.iter().filter(|(_, memory)| !memory.is_flat()).map(|(number, memory)| {
        let Memory { median_mib, most_mib, growth } = memory;
        format!(
            "process {number} by {:.1} % of {median_mib:.1} MiB, at most {most_mib:.1} MiB",
            growth * 100.0
        )
    });
    (judged.len(), grown.collect())
}
