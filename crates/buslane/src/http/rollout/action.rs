//! The body of `PUT /rollout`: parses the one action that it asks for.

use crate::rollout::{Advance, Plan};
use serde::Deserialize;
use serde_json::Value;
use std::fmt;

const RULE: &str = "the body must be a JSON object with exactly one of percent, plan (beside which advance may be manual or \
                    automatic), advance: true, roll_back: true";

/// The action that a body asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    Percent(u8),
    Begin(Plan),
    Advance,
    RollBack,
}

/// The keys of a body. Their values are read by hand, for errors in our words.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Body {
    percent: Option<Value>,
    plan: Option<Value>,
    advance: Option<Value>,
    roll_back: Option<Value>,
}

impl Action {
    /// Parses a body. The error is the rule that it breaks.
    pub(super) fn parse(body: &[u8]) -> Result<Self, String> {
        let value: Value =
            serde_json::from_slice(body).map_err(|error| format!("{RULE}: {error}"))?;
        if !value.is_object() {
            return Err(RULE.to_owned());
        }
        // Parsed again from the text: `value` no longer shows duplicate keys.
        let body: Body = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        match (body.percent, body.plan, body.advance, body.roll_back) {
            (Some(percent), None, None, None) => {
                let share = percent
                    .as_u64()
                    .and_then(|share| u8::try_from(share).ok())
                    .filter(|share| *share <= 100);
                share.map(Self::Percent).ok_or(format!(
                    "percent: must be a whole number from 0 to 100, found {percent}"
                ))
            }
            (None, Some(plan), advance, None) => begin(&plan, advance.as_ref()).map(Self::Begin),
            (None, None, Some(advance), None) => {
                must_be_true("advance", &advance).map(|()| Self::Advance)
            }
            (None, None, None, Some(roll_back)) => {
                must_be_true("roll_back", &roll_back).map(|()| Self::RollBack)
            }
            _ => Err(RULE.to_owned()),
        }
    }
}

fn begin(plan: &Value, advance: Option<&Value>) -> Result<Plan, String> {
    let text = plan.as_str().ok_or_else(|| {
        format!("plan: must be a text such as \"10 for 1h, 50 for 1h, 100\", found {plan}")
    })?;
    let plan: Plan = text.parse().map_err(|error| format!("plan: {error}"))?;
    match advance.map(|advance| (advance, advance.as_str())) {
        None | Some((_, Some("manual"))) => Ok(plan),
        Some((_, Some("automatic"))) => Ok(plan.advancing(Advance::Automatic)),
        Some((other, _)) => Err(format!(
            "advance: must be \"manual\" or \"automatic\" beside a plan, found {other}"
        )),
    }
}

fn must_be_true(name: &str, value: &Value) -> Result<(), String> {
    if *value == Value::Bool(true) {
        Ok(())
    } else {
        Err(format!("{name}: must be true, found {value}"))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "percent {percent}"),
            Self::Begin(plan) if plan.advance() == Advance::Automatic => {
                write!(f, "plan {plan}, automatic")
            }
            Self::Begin(plan) => write!(f, "plan {plan}"),
            Self::Advance => f.write_str("advance"),
            Self::RollBack => f.write_str("roll back"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, String> {
        Action::parse(text.as_bytes()).map(|action| action.to_string())
    }

    #[test]
    fn s3_a_body_asks_for_one_thing() {
        for (text, expected) in [
            (r#"{"percent": 0}"#, "percent 0"),
            (r#" {"percent":100} "#, "percent 100"),
            (r#"{"plan": "10 for 1h,100"}"#, "plan 10 for 1h, 100"),
            (r#"{"advance": "manual", "plan": "10,100"}"#, "plan 10, 100"),
            (r#"{"plan": "5", "advance": "automatic"}"#, "plan 5, automatic"),
            (r#"{"advance": true}"#, "advance"),
            (r#"{"roll_back": true}"#, "roll back"),
        ] {
            assert_eq!(parse(text), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn s3_a_body_that_asks_for_none_or_two_is_told_the_rule() {
        for text in [
            "{}",
            "[]",
            "null",
            "10",
            r#""percent""#,
            r#"["percent", 10]"#,
            r#"{"percent": null}"#,
            r#"{"percent": 10, "roll_back": true}"#,
            r#"{"percent": 10, "plan": "10"}"#,
            r#"{"percent": 10, "advance": "automatic"}"#,
            r#"{"advance": true, "roll_back": true}"#,
            r#"{"plan": "10", "roll_back": true}"#,
        ] {
            assert_eq!(parse(text), Err(RULE.to_owned()), "{text}");
        }
        for text in ["", "percent=10", "{", r#"{"percent": 10}{}"#, "\u{feff}{}"] {
            assert!(parse(text).is_err_and(|error| error.starts_with(RULE)), "{text}");
        }
        assert!(Action::parse(b"{\"plan\": \"\xff\"}").is_err());
    }

    #[test]
    fn s3_a_value_of_the_wrong_kind_is_named() {
        for (text, expected) in [
            (r#"{"percent": 101}"#, "percent: must be a whole number from 0 to 100, found 101"),
            (r#"{"percent": -1}"#, "percent: must be a whole number from 0 to 100, found -1"),
            (r#"{"percent": 256}"#, "percent: must be a whole number from 0 to 100, found 256"),
            (r#"{"percent": 1.5}"#, "percent: must be a whole number from 0 to 100, found 1.5"),
            (r#"{"percent": "10"}"#, "percent: must be a whole number from 0 to 100, found \"10\""),
            (
                r#"{"plan": 10}"#,
                "plan: must be a text such as \"10 for 1h, 50 for 1h, 100\", found 10",
            ),
            (
                r#"{"plan": "50,10"}"#,
                "plan: the percentages of a plan must rise, found 10 after 50",
            ),
            (
                r#"{"plan": "10", "advance": true}"#,
                "advance: must be \"manual\" or \"automatic\" beside a plan, found true",
            ),
            (
                r#"{"plan": "10", "advance": "auto"}"#,
                "advance: must be \"manual\" or \"automatic\" beside a plan, found \"auto\"",
            ),
            (r#"{"advance": false}"#, "advance: must be true, found false"),
            (r#"{"advance": "manual"}"#, "advance: must be true, found \"manual\""),
            (r#"{"roll_back": 1}"#, "roll_back: must be true, found 1"),
        ] {
            assert_eq!(parse(text), Err(expected.to_owned()), "{text}");
        }
        let unknown = parse(r#"{"percentage": 10}"#).unwrap_err();
        assert!(
            unknown.starts_with("unknown field `percentage`, expected one of `percent`, `plan`"),
            "{unknown}"
        );
        let twice = parse(r#"{"percent": 1, "percent": 2}"#).unwrap_err();
        assert!(twice.starts_with("duplicate field `percent`"), "{twice}");
    }
}
