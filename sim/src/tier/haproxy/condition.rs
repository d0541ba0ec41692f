//! `force-persist` and `ignore-persist`: for which paths ties to servers count more, or less, than otherwise.
//!
//! HAProxy 2.6.12, `doc/configuration.txt`; of its conditions, those that look at the path.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::tier::Persistence;

/// A condition on a request's path, as HAProxy writes it: `if { path_beg /static /img }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathCondition {
    matching: Matching,
    values: Vec<String>,
}

/// How a path is compared with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Matching {
    Whole,
    Begins,
    Ends,
    Contains,
}

impl Matching {
    const NAMES: [(&'static str, Self); 4] = [
        ("path", Self::Whole),
        ("path_beg", Self::Begins),
        ("path_end", Self::Ends),
        ("path_sub", Self::Contains),
    ];
}

/// A condition that is none, or not one on the path.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the condition `{0}` is not modelled")]
pub struct ConditionNotModelled(pub String);

impl FromStr for PathCondition {
    type Err = ConditionNotModelled;

    /// `if { path_beg /static }`, with or without `if` and the braces; one of several values is enough.
    fn from_str(text: &str) -> Result<Self, ConditionNotModelled> {
        let text = text.trim();
        let not_modelled = || ConditionNotModelled(text.to_owned());
        let braced = text.strip_prefix("if ").unwrap_or(text).trim();
        let bare = braced.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(braced);
        let mut words = bare.split_whitespace();
        let criterion = words.next().ok_or_else(not_modelled)?;
        let (_, matching) =
            Matching::NAMES.into_iter().find(|(name, _)| *name == criterion).ok_or_else(not_modelled)?;
        let values: Vec<_> = words.map(str::to_owned).collect();
        // Braces and flags (`-i`, `-m beg`) would be taken for values.
        let plain = |value: &String| !value.starts_with('-') && !value.contains(['{', '}']);
        if values.is_empty() || !values.iter().all(plain) {
            return Err(not_modelled());
        }
        Ok(Self { matching, values })
    }
}

impl fmt::Display for PathCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name =
            Matching::NAMES.into_iter().find(|(_, of)| *of == self.matching).map_or("", |(name, _)| name);
        write!(f, "if {{ {name} {} }}", self.values.join(" "))
    }
}

impl PathCondition {
    /// Whether it holds for a request for `uri`, whose query does not count.
    pub fn holds(&self, uri: &[u8]) -> bool {
        let path = uri.split(|&byte| byte == b'?').next().unwrap_or_default();
        self.values.iter().map(String::as_bytes).any(|value| match self.matching {
            Matching::Whole => path == value,
            Matching::Begins => path.starts_with(value),
            Matching::Ends => path.ends_with(value),
            Matching::Contains => path.windows(value.len()).any(|part| part == value),
        })
    }
}

/// What a configuration says of the ties of requests, by their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersistenceRules {
    /// `force-persist`; it comes before the other.
    pub forced: Option<PathCondition>,
    /// `ignore-persist`.
    pub ignored: Option<PathCondition>,
}

impl PersistenceRules {
    /// Name of the first rule.
    pub const FORCED: &'static str = "force-persist";
    /// Name of the second.
    pub const IGNORED: &'static str = "ignore-persist";

    /// The rules, with their names.
    pub fn named(&self) -> [(&'static str, Option<&PathCondition>); 2] {
        [(Self::FORCED, self.forced.as_ref()), (Self::IGNORED, self.ignored.as_ref())]
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.forced.is_none() && self.ignored.is_none()
    }

    /// How ties count for a request for `uri`.
    pub fn of(&self, uri: &[u8]) -> Persistence {
        let holds = |condition: &Option<PathCondition>| condition.as_ref().is_some_and(|it| it.holds(uri));
        if holds(&self.forced) {
            Persistence::Forced
        } else if holds(&self.ignored) {
            Persistence::Ignored
        } else {
            Persistence::Normal
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(text: &str) -> PathCondition {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn conditions_look_at_the_path() {
        for (text, yes, no) in [
            ("if { path_beg /static /img }", ["/static/a", "/img?x=1"], ["/p", "/p?/static"]),
            ("path /", ["/", "/?x=1"], ["/p", "//"]),
            ("if { path_end .css .js }", ["/a.css", "/b.js?v=2"], ["/a.css/", "/a?b.js"]),
            ("if { path_sub admin }", ["/x/admin/y", "/admin"], ["/adm", "/x?admin"]),
        ] {
            let read = condition(text);
            assert!(yes.iter().all(|path| read.holds(path.as_bytes())), "{text}");
            assert!(!no.iter().any(|path| read.holds(path.as_bytes())), "{text}");
            assert_eq!(condition(&read.to_string()), read);
        }
    }

    #[test]
    fn other_conditions_are_refused() {
        for text in [
            "",
            "if LOCALHOST",
            "if { src 10.0.0.0/8 }",
            "if { path_beg -i /a }",
            "if { path_beg }",
            "if { path /a } or { path /b }",
        ] {
            assert_eq!(text.parse::<PathCondition>(), Err(ConditionNotModelled(text.to_owned())));
        }
    }

    #[test]
    fn forcing_comes_before_ignoring() {
        let rules = PersistenceRules {
            forced: Some(condition("{ path_beg /admin }")),
            ignored: Some(condition("{ path_beg / }")),
        };
        assert_eq!(rules.of(b"/admin/x"), Persistence::Forced);
        assert_eq!(rules.of(b"/x"), Persistence::Ignored);
        assert_eq!(PersistenceRules::default().of(b"/x"), Persistence::Normal);
    }
}
