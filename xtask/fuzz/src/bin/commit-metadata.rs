//! The metadata of a commit. A decoded map keeps the limit, and a tracker can resume from it and
//! encode it again.
#![no_main]

use buslane_offsets::{Limits, METADATA_LIMIT, Tracker, codec};
use libfuzzer_sys::fuzz_target;

const MAX_SPAN: u64 = 1 << 20;

fuzz_target!(|input: (u32, &str)| {
    let (committed, metadata) = input;
    let committed = u64::from(committed);
    let Ok(done) = codec::decode(metadata, committed, MAX_SPAN) else { return };
    assert!(done.end() <= committed + MAX_SPAN);
    let mut tracker = Tracker::restore(done.clone(), Limits::default());
    let _ = tracker.deliver(committed);
    if let Some(commit) = tracker.next_commit(METADATA_LIMIT) {
        let told = codec::decode(&commit.metadata, commit.offset, MAX_SPAN).expect("our metadata");
        assert!(told.ranges().flatten().take(10_000).all(|offset| done.contains(offset)));
    }
});
