//! What the YAML and TOML parsers say, in words for people who know neither them nor Rust.
//!
//! A text that is not listed here is passed on as it is.

use super::url;

const WHOLE: &str = "must be a whole number, 0 or more";
/// Shares are the only bytes.
const PERCENT: &str = "must be a whole number from 0 to 100";
const TABLE: &str = "must be a table of keys and values";
pub(super) const TABLE_KIND: &str = "a table of keys and values";

/// Where a value of the wrong kind may be a secret that stands a line too high.
const SECRETS: [&str; 3] = ["kafka.security", "kafka.properties", "rollout.token"];

/// A parser's text that begins as on the left is replaced by the right.
const BEGINNINGS: [(&str, &str); 14] = [
    ("invalid floating point", "must be a number"),
    ("invalid u8", PERCENT),
    ("invalid u64", WHOLE),
    ("invalid u32", WHOLE),
    ("invalid u16", WHOLE),
    ("invalid boolean", "must be true or false"),
    ("expected mapping start", TABLE),
    ("expected sequence start", "must be a list"),
    ("expected string scalar", "must be a text"),
    ("cannot deserialize null into string", "must have a value"),
    ("unexpected value for unit enum variant", "takes no settings of its own"),
    ("invalid type: unit variant, expected struct variant", TABLE),
    ("multiple YAML documents detected", "more than one YAML document"),
    ("duplicate mapping key: ", "is set twice"),
];

/// What a parser expected, as it says it, and as we do.
const EXPECTED: [(&str, &str); 10] = [
    ("f64", "a number"),
    ("u8", "a whole number from 0 to 100"),
    ("usize", "a whole number, 0 or more"),
    ("u64", "a whole number, 0 or more"),
    ("u32", "a whole number, 0 or more"),
    ("u16", "a whole number, 0 or more"),
    ("a string", "a text"),
    ("a map", TABLE_KIND),
    ("a sequence", "a list"),
    ("a boolean", "true or false"),
];

/// The reason of an error at `key`, on one line, without place and without secrets.
pub(super) fn plain(key: &str, reason: &str) -> String {
    let reason = reason.trim_end().replace('\n', "; ");
    let reason = match reason.rfind(" at line ") {
        Some(at) => &reason[..at],
        None => &reason,
    };
    // The check of the URL itself hides what it must; elsewhere a URL is out of place.
    let reason =
        if key != "url" && reason.contains("://") { url::hide(reason) } else { reason.to_owned() };
    if let Some((start, ours)) = BEGINNINGS.iter().find(|(start, _)| reason.starts_with(start)) {
        return match reason[start.len()..].split_once(", set ") {
            Some((name, _)) if start.ends_with(": ") => format!("{name} {ours}"),
            _ => (*ours).to_owned(),
        };
    }
    let secret =
        SECRETS.iter().any(|section| key.starts_with(section)) && reason.starts_with("invalid ");
    let said = |found: &str, expected: &str| match secret {
        true => format!("must be {expected}"),
        false => format!("{found}, expected {expected}"),
    };
    if let Some((found, expected)) = reason.rsplit_once(", expected ") {
        if expected.starts_with("struct ") {
            return said(found, TABLE_KIND);
        }
        if let Some((_, ours)) = EXPECTED.iter().find(|(theirs, _)| *theirs == expected) {
            return said(found, ours);
        }
        if secret {
            return said(found, expected);
        }
    }
    reason
}
