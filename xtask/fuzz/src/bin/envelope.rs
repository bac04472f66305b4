//! The body of an envelope: both parsers agree, and what is read can be written and read again.
#![no_main]

use buslane_core::{Envelope, Layout};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let body = Bytes::copy_from_slice(body);
    let layout = Layout::read(&body);
    let envelope = match (Envelope::decode(&body), &layout) {
        (Ok(envelope), Ok(layout)) => {
            assert_eq!(envelope, layout.envelope(&body));
            envelope
        }
        (Err(error), Err(_)) => {
            assert!(!error.to_string().is_empty());
            return;
        }
        (one, two) => panic!("decode: {one:?}, layout: {two:?}"),
    };
    // A timestamp outside of the years that RFC 3339 writes is refused.
    let Ok(written) = envelope.encode() else { return };
    assert_eq!(Envelope::decode(&written).expect("our own body"), envelope);
});
