//! Looking for a byte in short texts, many bytes at a time.

/// Whether any byte is wanted. No early exit and no bytes one by one, but in the shortest texts:
/// the compiler makes vector instructions of this.
#[inline]
pub(super) fn any(text: &[u8], wanted: impl Fn(u8) -> bool) -> bool {
    let in_bytes = |bytes: &[u8]| bytes.iter().fold(false, |any, byte| any | wanted(*byte));
    if let Some(last) = text.last_chunk::<16>() {
        let (chunks, _) = text.as_chunks::<16>();
        return chunks.iter().fold(in_bytes(last), |any, chunk| any | in_bytes(chunk));
    }
    match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some(first), Some(last)) => in_bytes(first) | in_bytes(last),
        _ => in_bytes(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_found_wherever_it_stands() {
        for len in 0..70 {
            assert!(!any(&vec![b'a'; len], |byte| byte == b'b'));
            for at in 0..len {
                let mut text = vec![b'a'; len];
                text[at] = b'b';
                assert!(any(&text, |byte| byte == b'b'), "{at} of {len}");
            }
        }
    }
}
