//! A plan: the stages of a rollout, and their text form `10 for 1h, 50 for 1h, 100`.

use buslane_settings::duration;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, time::Duration};
use thiserror::Error;

/// A share of the keys, and how long it is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// Share of the keys that the actor pool runs, in percent: 1 to 100.
    pub percent: u8,
    /// The shortest time that the stage lasts. Zero: until one window allows the next stage.
    pub hold: Duration,
}

/// Who begins the next stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advance {
    /// An operator, who is told when the stage may advance. The default.
    #[default]
    Manual,
    /// The plan, as soon as the stage may advance.
    Automatic,
}

/// Stages of a rollout, each with more keys than the one before.
///
/// Parsed from text such as `10,50,100` or `10 for 1h, 50 for 1h, 100`, which advances by hand, and
/// displayed in the same form. Serialized as `{"stages": "10 for 1h, 100", "advance": "manual"}`;
/// `advance` is optional.
///
/// ```
/// use buslane_rollout::{Advance, Plan};
///
/// let plan = "10 for 1h, 100".parse::<Plan>()?.advancing(Advance::Automatic);
/// assert_eq!(plan.stages()[0].percent, 10);
/// assert!("50, 10".parse::<Plan>().is_err(), "percentages rise");
/// # Ok::<(), buslane_rollout::PlanError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "SerializedPlan", into = "SerializedPlan")]
pub struct Plan {
    stages: Vec<Stage>,
    advance: Advance,
}

impl Plan {
    /// A plan of these stages.
    ///
    /// # Errors
    /// No stage, a percentage outside of 1 to 100, or one that does not rise.
    pub fn new(stages: Vec<Stage>, advance: Advance) -> Result<Self, PlanError> {
        let mut before = 0;
        for Stage { percent, .. } in &stages {
            if !(1..=100).contains(percent) {
                return Err(PlanError::Percent { found: percent.to_string() });
            }
            if *percent <= before {
                return Err(PlanError::NotRising { before, percent: *percent });
            }
            before = *percent;
        }
        if stages.is_empty() { Err(PlanError::Empty) } else { Ok(Self { stages, advance }) }
    }

    /// Sets how the plan advances.
    #[must_use]
    pub fn advancing(self, advance: Advance) -> Self {
        Self { advance, ..self }
    }

    /// The stages: at least one, with rising percentages.
    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Who begins the next stage.
    #[must_use]
    pub const fn advance(&self) -> Advance {
        self.advance
    }
}

/// Why a plan is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// It has no stage.
    #[error("a plan needs a stage, such as 10 for 1h, 50 for 1h, 100")]
    Empty,
    /// A percentage is not a number from 1 to 100.
    #[error("the percentage of a stage must be a whole number from 1 to 100, found {found:?}")]
    Percent {
        /// The refused text.
        found: String,
    },
    /// A stage has no more keys than the one before.
    #[error("the percentages of a plan must rise, found {percent} after {before}")]
    NotRising {
        /// The percentage of the stage before.
        before: u8,
        /// The percentage of the stage.
        percent: u8,
    },
    /// The text after `for` is not a duration.
    #[error("the time of the stage at {percent} {rule}, found {found:?}")]
    Hold {
        /// The percentage of the stage.
        percent: u8,
        /// The rule for durations.
        rule: &'static str,
        /// The refused text.
        found: String,
    },
}

/// The serialized form of a plan.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SerializedPlan {
    stages: String,
    #[serde(default)]
    advance: Advance,
}

impl From<Plan> for SerializedPlan {
    fn from(plan: Plan) -> Self {
        Self { stages: plan.to_string(), advance: plan.advance }
    }
}

impl TryFrom<SerializedPlan> for Plan {
    type Error = PlanError;

    fn try_from(serialized: SerializedPlan) -> Result<Self, PlanError> {
        Ok(serialized.stages.parse::<Self>()?.advancing(serialized.advance))
    }
}

impl FromStr for Plan {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        if text.trim().is_empty() {
            return Err(PlanError::Empty);
        }
        let stages = text.split(',').map(|stage| stage.trim().parse()).collect::<Result<_, _>>()?;
        Self::new(stages, Advance::default())
    }
}

impl FromStr for Stage {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let (percent, hold) =
            text.split_once(" for ").map_or((text, None), |(percent, hold)| (percent, Some(hold)));
        let found = percent.trim();
        let number = Some(found).filter(|found| found.bytes().all(|byte| byte.is_ascii_digit()));
        let percent = number
            .and_then(|number| number.parse().ok())
            .filter(|percent| (1..=100).contains(percent))
            .ok_or_else(|| PlanError::Percent { found: found.to_owned() })?;
        let hold = hold.map(str::trim).map_or(Ok(Duration::ZERO), |found| {
            duration::parse(found).map_err(|rule| PlanError::Hold {
                percent,
                rule,
                found: found.to_owned(),
            })
        })?;
        Ok(Self { percent, hold })
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.percent)?;
        if self.hold.is_zero() { Ok(()) } else { write!(f, " for {}", duration::show(self.hold)) }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, stage) in self.stages.iter().enumerate() {
            write!(f, "{}{stage}", if place == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn stages(text: &str) -> Vec<(u8, Duration)> {
        let plan: Plan = text.parse().unwrap();
        assert_eq!(plan.advance(), Advance::Manual);
        plan.stages().iter().map(|stage| (stage.percent, stage.hold)).collect()
    }

    #[test]
    fn s3_a_plan_is_read_and_shown_as_people_write_it() {
        assert_eq!(
            stages("10,50,100"),
            [(10, Duration::ZERO), (50, Duration::ZERO), (100, Duration::ZERO)]
        );
        let hours = [(10, HOUR), (50, HOUR), (100, Duration::ZERO)];
        for text in ["10 for 1h, 50 for 1h, 100", " 10 for 60m,50  for  3600s,100 "] {
            assert_eq!(stages(text), hours, "{text:?}");
            assert_eq!(text.parse::<Plan>().unwrap().to_string(), "10 for 1h, 50 for 1h, 100");
        }
        assert_eq!(stages("100 for 5m"), [(100, HOUR / 12)]);
    }

    #[test]
    fn s3_a_plan_that_is_none_is_told_the_rule() {
        for (text, rule) in [
            ("", "a plan needs a stage, such as 10 for 1h, 50 for 1h, 100"),
            ("  ", "a plan needs a stage, such as 10 for 1h, 50 for 1h, 100"),
            ("10,", "the percentage of a stage must be a whole number from 1 to 100, found \"\""),
            ("0,10", "the percentage of a stage must be a whole number from 1 to 100, found \"0\""),
            (
                "101",
                "the percentage of a stage must be a whole number from 1 to 100, found \"101\"",
            ),
            (
                "+10",
                "the percentage of a stage must be a whole number from 1 to 100, found \"+10\"",
            ),
            (
                "10 %",
                "the percentage of a stage must be a whole number from 1 to 100, found \"10 %\"",
            ),
            (
                "10 50",
                "the percentage of a stage must be a whole number from 1 to 100, found \"10 50\"",
            ),
            (
                "10 for",
                "the percentage of a stage must be a whole number from 1 to 100, found \"10 for\"",
            ),
            ("50, 10", "the percentages of a plan must rise, found 10 after 50"),
            ("10,10", "the percentages of a plan must rise, found 10 after 10"),
            (
                "10 for 1 hour",
                "the time of the stage at 10 must be a whole number and a unit of h, m, s, ms, us or ns, such as 500ms \
                 or 30s, found \"1 hour\"",
            ),
            (
                "10 for 99999999h",
                "the time of the stage at 10 is too long: at most 584 years, found \"99999999h\"",
            ),
        ] {
            assert_eq!(text.parse::<Plan>().unwrap_err().to_string(), rule, "{text:?}");
        }
        assert_eq!(Plan::new(vec![], Advance::Manual), Err(PlanError::Empty));
        let stage = Stage { percent: 200, hold: HOUR };
        assert_eq!(
            Plan::new(vec![stage], Advance::Manual),
            Err(PlanError::Percent { found: "200".into() })
        );
    }

    #[test]
    fn s3_a_plan_is_serialized_as_its_text() {
        let text = r#"{"stages":"10 for 1h, 100","advance":"automatic"}"#;
        let plan: Plan = serde_json::from_str(text).unwrap();
        assert_eq!(plan, "10 for 1h,100".parse::<Plan>().unwrap().advancing(Advance::Automatic));
        assert_eq!(serde_json::to_string(&plan).unwrap(), text);
        let plan: Plan = serde_json::from_str(r#"{"stages":"5"}"#).unwrap();
        assert_eq!(plan.advance(), Advance::Manual);
        let error = |text| serde_json::from_str::<Plan>(text).unwrap_err().to_string();
        assert!(error(r#"{"stages":"7,5"}"#).contains("must rise, found 5 after 7"));
        assert!(error(r#"{"stages":"7","hold":"1h"}"#).contains("unknown field `hold`"));
    }

    proptest! {
        #[test]
        fn s3_what_is_shown_is_read_as_the_same(
            percents in prop::collection::btree_set(1_u8..=100, 1..8),
            holds in prop::collection::vec(0..u64::MAX, 8),
        ) {
            let stages = percents.into_iter().zip(holds);
            let stages = stages.map(|(percent, nanos)| Stage { percent, hold: Duration::from_nanos(nanos) });
            let plan = Plan::new(stages.collect(), Advance::Manual).unwrap();
            prop_assert_eq!(plan.to_string().parse::<Plan>(), Ok(plan));
        }

        #[test]
        fn s3_no_text_makes_it_panic(text in "[0-9for hms,%]{0,20}") {
            let _ = text.parse::<Plan>();
        }
    }
}
