//! `settings!`: the single definition of each setting.

/// Defines a section of settings: a struct with public fields, their defaults, rules, environment
/// variables and reference rows.
///
/// A field is `name: Type = default, detail, detail;`. Without `= default` it has the default of
/// its type. A detail is a rule or a fact, such as [`range`](crate::range()) or
/// [`variables`](crate::variables). The documentation of a field is also its text in the reference.
/// The macro appends the default and the rules, so the text should not repeat them.
///
/// Fields under `given` are set in code only; files and the reference do not contain them. `also`
/// names a function of `(&Self, key: &str)` that checks rules about several settings.
///
/// ```
/// use buslane_settings::{Value, duration::secs, range, settings};
/// use std::time::Duration;
///
/// settings! {
///     /// How a client connects.
///     pub struct ConnectConfig {
///         /// How long an attempt may take.
///         timeout: Duration = secs(5), range(secs(1), secs(60));
///     }
/// }
///
/// let config = ConnectConfig { timeout: secs(90) };
/// let error = config.validate("connect").unwrap_err();
/// assert_eq!(error.to_string(), "connect.timeout: must be from 1s to 1m, found 90s");
/// ```
#[macro_export]
macro_rules! settings {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $type:ty $(= $default:expr)? $(, $detail:expr)*;
            )*
        }
        $(given {
            $(
                $(#[doc = $given_doc:literal])+
                $given_vis:vis $given:ident: $given_type:ty $(= $given_default:expr)?;
            )*
        })?
        $(also $also:expr;)?
    ) => {
        $(#[$meta])*
        #[derive(
            Debug, Clone, PartialEq, $crate::serde::Serialize, $crate::serde::Deserialize,
        )]
        #[serde(crate = "::buslane_settings::serde", default, deny_unknown_fields)]
        $vis struct $name {
            $(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nDefault: `", $crate::settings!(@text $($default)?), "`.")]
                $(#[doc = concat!(" `", stringify!($detail), "`.")])*
                #[serde(
                    with = "::buslane_settings::field",
                    skip_serializing_if = "::buslane_settings::is_absent"
                )]
                pub $field: $type,
            )*
            $($(
                $(#[doc = $given_doc])+
                #[serde(skip)]
                $given_vis $given: $given_type,
            )*)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: $crate::settings!(@default $($default)?),)*
                    $($($given: $crate::settings!(@default $($given_default)?),)*)?
                }
            }
        }

        impl $crate::Value for $name {
            $crate::plain_value!();

            fn list(default: Option<&Self>, own: $crate::Setting, list: &mut Vec<$crate::Setting>) {
                $($crate::describe(
                    $crate::join(&own.key, stringify!($field)),
                    default.map(|default| &default.$field),
                    &[$($doc),+],
                    vec![$($detail),*],
                    list,
                );)*
            }

            fn validate(&self, key: &str) -> Result<(), $crate::BrokenRule> {
                $($crate::judge(
                    &self.$field,
                    $crate::join(key, stringify!($field)),
                    vec![$($detail),*],
                )?;)*
                $(($also)(self, key)?;)?
                Ok(())
            }

            fn begun(optional: &mut Option<Self>) -> Option<&mut Self> {
                Some(optional.get_or_insert_default())
            }

            fn set(&mut self, key: &str, text: &str) -> Result<(), $crate::BrokenRule> {
                let (name, rest) = key.split_once('.').unwrap_or((key, ""));
                $(if name == stringify!($field) {
                    return $crate::set(&mut self.$field, rest, text, vec![$($detail),*]);
                })*
                $crate::BrokenRule::because(key, "is no setting", format!("{text:?}"))
            }
        }
    };
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
    (@text) => { "that of its type" };
    (@text $default:expr) => { stringify!($default) };
}
