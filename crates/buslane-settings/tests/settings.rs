//! One entry is the field, its default, its rules, its variable and its row.

use buslane_core::Secret;
use buslane_settings::{
    BrokenRule, Value, at_least, at_most, choices, duration::secs, kind, not_blank, reference,
    settings, variables,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Colour {
    #[default]
    DeepBlue,
    Red,
    Green,
}

choices!(Colour);

settings! {
    /// A section.
    struct Section {
        /// How much
        /// there is.
        amount: u32 = 7, kind("integer, bytes"), at_most(9), at_least(1), variables(&["AMOUNT"]);
        /// Which one.
        colour: Colour, variables(&["COLOUR"]);
        /// A part.
        part: Option<Part>, variables(&["PART_NAME"]);
    }
    given {
        /// Of no file.
        origin: String = "code".to_owned();
    }
    also Self::red_is_small;
}

settings! {
    /// A part.
    struct Part {
        /// Its name.
        name: String = "x".to_owned(), not_blank();
        /// Its word.
        word: Option<Secret>;
        /// Its time.
        time: Duration = secs(90);
    }
}

impl Section {
    fn red_is_small(&self, key: &str) -> Result<(), BrokenRule> {
        if self.colour == Colour::Red && self.amount > 2 {
            return BrokenRule::because(format!("{key}.amount"), "must be small", self.amount);
        }
        Ok(())
    }
}

fn read(text: &str) -> Result<Section, String> {
    let section: Section = serde_json::from_str(text).map_err(|error| error.to_string())?;
    section.validate("top").map_err(|error| error.to_string())?;
    Ok(section)
}

#[test]
fn s1_a_section_is_read_and_checked() {
    let section = read("{}").unwrap();
    assert_eq!((section.amount, section.colour, section.part), (7, Colour::DeepBlue, None));
    assert_eq!(section.origin, "code");
    assert_eq!(read(r#"{"part": {}}"#).unwrap().part.unwrap().time, secs(90));
    for (text, expected) in [
        (r#"{"amount": 0}"#, "top.amount: must be at least 1, found 0"),
        (r#"{"amount": 10}"#, "top.amount: must be at most 9, found 10"),
        (r#"{"colour": "red"}"#, "top.amount: must be small, found 7"),
        (r#"{"part": {"name": " "}}"#, "top.part.name: must not be blank, found \" \""),
        (r#"{"part": null}"#, "invalid type: null, expected struct Part at line 1 column 13"),
    ] {
        assert_eq!(read(text).unwrap_err(), expected, "{text}");
    }
    for text in [r#"{"origin": "file"}"#, r#"{"part": {"size": 1}}"#] {
        assert!(read(text).unwrap_err().starts_with("unknown field"), "{text}");
    }
}

#[test]
fn s1_a_variable_sets_what_keeps_the_rules() {
    let mut section = Section::default();
    for (key, text) in [("amount", "2"), ("colour", "red"), ("part.name", "y")] {
        section.set(key, text).unwrap();
    }
    assert_eq!((section.amount, section.colour), (2, Colour::Red));
    assert_eq!(section.part.as_ref().unwrap().name, "y");
    for (key, text, rule) in [
        ("amount", "10", "must be a whole number from 1 to 9"),
        ("amount", "+1", "must be a whole number from 1 to 9"),
        ("colour", "blue", "must be deep_blue, red or green"),
        ("part.name", "", "must not be blank"),
        ("size", "1", "is no setting"),
    ] {
        let error = section.set(key, text).unwrap_err();
        assert_eq!((error.rule.as_str(), error.found), (rule, format!("{text:?}")), "{key}");
    }
}

#[test]
fn s1_the_reference_has_a_row_for_each_setting() {
    let rows = reference::<Section>("top");
    let row = |at: usize| {
        let row = &rows[at];
        [&row.key, &row.kind, &row.default, &row.meaning].map(String::as_str)
    };
    assert_eq!(row(0), ["top.amount", "integer, bytes, 1 to 9", "7", "How much there is."]);
    assert_eq!(row(1), ["top.colour", "`deep_blue`, `red` or `green`", "deep_blue", "Which one."]);
    assert_eq!(row(2), ["top.part.name", "text", "", "A part. Its name."]);
    assert_eq!(row(3), ["top.part.word", "text, never shown", "", "Its word."]);
    assert_eq!(
        (rows[0].variables[0], rows[2].variables[0], rows.len()),
        ("AMOUNT", "PART_NAME", 5)
    );
}
