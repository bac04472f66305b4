//! Metadata that nobody wrote: `cargo +nightly fuzz run decode` in the crate's folder. What is read
//! must be within the limit, and a tracker must be able to go on from it and say it again.
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
    if let Some(offer) = tracker.offer(METADATA_LIMIT) {
        let told = codec::decode(&offer.metadata, offer.offset, MAX_SPAN).expect("ours");
        assert!(told.ranges().flatten().take(10_000).all(|offset| done.contains(offset)));
    }
});
