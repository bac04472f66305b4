//! The fast path for bodies in canonical form: the known fields in their order, without white space
//! between them and without escapes, as every known writer produces them.
//!
//! It is not a JSON parser: it compares and slices texts, and `serde_json` checks the payload.
//! `serde_json` reads a body of any other form, valid or not.

use super::wire::{Fields, any_byte};
use memchr::memchr;
use serde_json::value::RawValue;

/// Reads a body in canonical form. `None` does not mean that the body is invalid.
#[inline]
pub(super) fn read(body: &str) -> Option<Fields<'_>> {
    let mut rest = Rest(body);
    let fields = Fields {
        event_id: rest.text("{\"event_id\":\"")?,
        aggregate_id: rest.text(",\"aggregate_id\":\"")?,
        event_type: rest.text(",\"event_type\":\"")?,
        event_version: rest.integer(",\"event_version\":")?,
        timestamp: rest.text(",\"timestamp\":\"")?,
        trace_id: rest.text(",\"trace_id\":\"").unwrap_or_default(),
        correlation_id: rest.text(",\"correlation_id\":\"").unwrap_or_default(),
        tenant_id: rest.integer(",\"tenant_id\":").unwrap_or_default(),
        payload: rest.0.strip_prefix(",\"payload\":")?,
    };
    // Some writers, such as Go's stream encoder, end a body with a line feed.
    let payload = fields.payload.strip_suffix('\n').unwrap_or(fields.payload).strip_suffix('}')?;
    let payload = serde_json::from_str::<&RawValue>(payload).ok()?.get();
    Some(Fields { payload, ..fields })
}

/// The unread rest of a body. Its methods are always inlined, so that the compiler knows `before`
/// and compares it in one or two words.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    /// Takes the text behind `before`, up to its quote. Takes nothing if there is no such text, or
    /// if it contains escapes.
    #[inline(always)]
    fn text(&mut self, before: &str) -> Option<&'a str> {
        let behind = self.0.strip_prefix(before)?;
        let quote = memchr(b'"', behind.as_bytes())?;
        let text = &behind[..quote];
        if any_byte(text.as_bytes(), |byte| (byte < 0x20) | (byte == b'\\')) {
            return None;
        }
        self.0 = &behind[quote + 1..];
        Some(text)
    }

    /// Takes the integer behind `before`, which is not negative. Takes nothing if there is none.
    #[inline(always)]
    fn integer(&mut self, before: &str) -> Option<i64> {
        /// The number of digits that always fit.
        const DIGITS: usize = 18;
        let behind = self.0.strip_prefix(before)?;
        let (mut value, mut len) = (0, 0);
        for byte in behind.bytes().take(DIGITS + 1).take_while(u8::is_ascii_digit) {
            if len == DIGITS || (len == 1 && value == 0) {
                return None;
            }
            value = value * 10 + i64::from(byte - b'0');
            len += 1;
        }
        if len == 0 {
            return None;
        }
        self.0 = &behind[len..];
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::wire::Wire, *};
    use proptest::prelude::*;

    /// Bodies in canonical form, nearly so, and damaged ones.
    fn bodies() -> impl Strategy<Value = String> {
        let text =
            || prop_oneof![8 => "[a-zA-Z0-9é:._/ -]{0,40}", 1 => "[\\\\\"nu0\t\u{7f}-]{0,4}"];
        let integer = || prop_oneof![8 => (1_i64..).prop_map(|value| value.to_string()), 2 => "-?[0-9]{1,20}", 1 => "[0-9.e\"]{0,3}"];
        let payload = prop_oneof![
            4 => Just("{\"a\":[1,2.5e3,\"x\\n\",null]}".to_owned()), 1 => Just(" [ ] ".to_owned()),
            1 => Just("1,\"payload\":2".to_owned()), 1 => Just("1,\"other\":2".to_owned()), 2 => "[]\\[{}\",:0-9.a-z\\\\ -]{0,8}",
        ];
        let optional = move |field: &'static str, value: BoxedStrategy<String>| {
            prop_oneof![
                Just(String::new()),
                value.prop_map(move |value| format!(",\"{field}\":{value}"))
            ]
        };
        let quoted = move || text().prop_map(|text| format!("\"{text}\"")).boxed();
        (
            (text(), text(), text(), integer(), text()),
            optional("trace_id", quoted()), optional("correlation_id", quoted()), optional("tenant_id", integer().boxed()),
            payload, prop_oneof![9 => Just("}"), 1 => Just("}\n"), 1 => Just("}}"), 1 => Just("")],
        ).prop_map(|((id, aggregate, kind, version, time), trace, correlation, tenant, payload, end)| format!(
            "{{\"event_id\":\"{id}\",\"aggregate_id\":\"{aggregate}\",\"event_type\":\"{kind}\",\"event_version\":{version},\
             \"timestamp\":\"{time}\"{trace}{correlation}{tenant},\"payload\":{payload}{end}"
        ))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn e2_what_is_read_is_what_the_library_reads(
            body in bodies(), at in any::<prop::sample::Index>(), byte in prop_oneof![0_u8..128, Just(b'"'), Just(b'\\')],
        ) {
            let mut damaged = body.clone().into_bytes();
            let at = at.index(damaged.len());
            damaged[at] = byte;
            for body in [Some(body), String::from_utf8(damaged).ok()].into_iter().flatten() {
                if let Some(fields) = read(&body) {
                    let expected = Wire::read(&body).unwrap_or_else(|error| panic!("{body}: {error}"));
                    prop_assert_eq!(fields, expected.fields());
                }
            }
        }
    }

    #[test]
    fn e1_bodies_of_the_usual_form_are_known() {
        let start = r#"{"event_id":"e","aggregate_id":"a","event_type":"T","event_version":1,"timestamp":"t""#;
        for rest in [
            r#","payload":{}}"#,
            r#","tenant_id":7,"payload":null}"#,
            ",\"payload\":7}\n",
            r#","trace_id":"t","payload":"a\"b"}"#,
            r#","trace_id":"t","correlation_id":"c","tenant_id":123456789012345678,"payload": [1] }"#,
        ] {
            assert!(read(&format!("{start}{rest}")).is_some(), "{rest}");
        }
        for rest in [
            r#""#,
            r#","payload":}"#,
            r#","payload":1,"payload":1}"#,
            r#","tenant_id":0123,"payload":1}"#,
            r#","tenant_id":1234567890123456789,"payload":1}"#,
            r#","tenant_id":-,"payload":1}"#,
            r#","trace_id":"a\u0062","payload":1}"#,
            r#", "payload":1}"#,
        ] {
            assert!(read(&format!("{start}{rest}")).is_none(), "{rest}");
        }
    }
}
