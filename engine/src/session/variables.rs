//! The settings that a session has: PostgreSQL's that clients set and ask for, and Millrace's own.
//!
//! Nothing is accepted and ignored but what [`Effect::None`] lists: settings that PostgreSQL's clients send as a matter of course and that
//! change nothing that Millrace does. `SHOW ALL` and docs/sql/set.md say which these are.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::{Error, ErrorKind, Result};

/// What setting a variable does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Something here or in the server reads it.
    Used,
    /// It may be set and shown; nothing depends on it.
    None,
    /// It can be read only.
    ReadOnly,
    /// It may be set to its default only: another value would promise what isn't done.
    Fixed,
}

/// A setting that exists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variable {
    /// As PostgreSQL spells it; names are compared without case.
    pub(crate) name: &'static str,
    pub(crate) default: &'static str,
    pub(crate) effect: Effect,
    kind: Kind,
    /// Whether the client is told of each change (ParameterStatus).
    pub(crate) reported: bool,
    pub(crate) description: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    Bool,
    Integer,
    /// A time; a bare number counts milliseconds.
    Milliseconds,
    OneOf(&'static [&'static str]),
    TimeZone,
    /// `ISO, MDY`: the style must be ISO.
    DateStyle,
    Encoding,
}

const ISOLATION: &[&str] = &["serializable", "repeatable read", "read committed", "read uncommitted"];
const LEVELS: &[&str] =
    &["debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error", "info", "fatal", "panic"];

macro_rules! variables {
    ($($name:literal $default:literal $effect:ident $kind:expr, $reported:literal, $description:literal;)*) => {
        [$(Variable { name: $name, default: $default, effect: Effect::$effect, kind: $kind, reported: $reported,
            description: $description }),*]
    };
}

/// All of them, by name.
pub(crate) const VARIABLES: [Variable; 41] = variables! {
    "application_name" "" Used Kind::Text, true, "the client's name, as mr_catalog and pg_stat_activity show it";
    "bytea_output" "hex" Used Kind::OneOf(&["hex", "escape"]), false, "how bytea is written as text";
    "client_encoding" "UTF8" Used Kind::Encoding, true, "always UTF8";
    "client_min_messages" "notice" Used Kind::OneOf(LEVELS), false, "notices below this level are not sent";
    "DateStyle" "ISO, MDY" Used Kind::DateStyle, true, "always ISO";
    "default_transaction_deferrable" "off" None Kind::Bool, false, "no effect: a reader never waits";
    "default_transaction_isolation" "read committed" None Kind::OneOf(ISOLATION), false, "no effect: a transaction sees one epoch";
    "default_transaction_read_only" "off" Used Kind::Bool, true, "new transactions may not write";
    "enable_hashjoin" "on" None Kind::Bool, false, "no effect";
    "extra_float_digits" "1" Used Kind::Integer, false, "0 or less rounds floats to 15 (float4: 6) digits";
    "geqo" "on" None Kind::Bool, false, "no effect";
    "hydration_wait" "on" Used Kind::Bool, false, "queries wait for views that are being built";
    "idle_in_transaction_session_timeout" "0" Fixed Kind::Milliseconds, false, "not done: idle transactions hold no locks";
    "in_hot_standby" "off" ReadOnly Kind::Bool, true, "this is no standby";
    "integer_datetimes" "on" ReadOnly Kind::Bool, true, "times are whole microseconds";
    "IntervalStyle" "postgres" Used Kind::OneOf(&["postgres", "postgres_verbose", "sql_standard", "iso_8601"]), true, "how intervals are written as text";
    "is_superuser" "on" ReadOnly Kind::Bool, true, "there are no other users";
    "jit" "off" None Kind::Bool, false, "no effect";
    "lc_collate" "C" ReadOnly Kind::Text, false, "text is ordered by its bytes";
    "lc_ctype" "C.UTF-8" ReadOnly Kind::Text, false, "what letters are";
    "lc_messages" "C" None Kind::Text, false, "no effect: messages are English";
    "lc_monetary" "C" None Kind::Text, false, "no effect";
    "lc_numeric" "C" None Kind::Text, false, "no effect";
    "lc_time" "C" None Kind::Text, false, "no effect";
    "lock_timeout" "0" None Kind::Milliseconds, false, "no effect: nothing waits for a lock";
    "max_identifier_length" "63" ReadOnly Kind::Integer, false, "longer names are cut by PostgreSQL, kept by Millrace";
    "row_security" "on" None Kind::Bool, false, "no effect: there are no policies";
    "search_path" "\"$user\", public" Used Kind::Text, true, "schemas in which bare names are looked for";
    "server_encoding" "UTF8" ReadOnly Kind::Text, true, "always UTF8";
    "server_version" "15.8" ReadOnly Kind::Text, true, "the version of PostgreSQL whose protocol and catalog are spoken";
    "server_version_num" "150008" ReadOnly Kind::Integer, false, "the same as a number";
    "session_authorization" "millrace" ReadOnly Kind::Text, true, "who is connected";
    "standard_conforming_strings" "on" Fixed Kind::Bool, true, "backslashes in '...' are plain characters";
    "statement_timeout" "0" Used Kind::Milliseconds, false, "a statement that runs longer is cancelled";
    "synchronous_commit" "on" None Kind::OneOf(&["on", "off", "local", "remote_write", "remote_apply"]), false, "no effect: a write is durable when it returns";
    "TimeZone" "UTC" Used Kind::TimeZone, true, "the zone in which timestamptz is read and written";
    "transaction_deferrable" "off" None Kind::Bool, false, "no effect: a reader never waits";
    "transaction_isolation" "read committed" None Kind::OneOf(ISOLATION), false, "no effect: a transaction sees one epoch";
    "transaction_read_only" "off" Used Kind::Bool, false, "this transaction may not write";
    "work_mem" "4MB" None Kind::Text, false, "no effect: queries share one memory pool";
    "xmloption" "content" None Kind::Text, false, "no effect: there is no xml";
};

/// The variable of that name.
pub(crate) fn find(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.name.eq_ignore_ascii_case(name))
}

/// Settings that a query has asked for with `set_config`: a query reads its session, which takes them when the query has ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes(Arc<Mutex<Vec<Wish>>>);

/// SET name = value, or its default; `local` to the transaction.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    pub(crate) local: bool,
}

impl Wishes {
    pub(crate) fn add(&self, wish: Wish) {
        self.0.lock().push(wish);
    }

    pub(crate) fn take(&self) -> Vec<Wish> {
        std::mem::take(&mut *self.0.lock())
    }
}

/// The values of one session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    /// What the session began with, where that isn't the default: what RESET goes back to.
    initial: BTreeMap<&'static str, String>,
    set: BTreeMap<&'static str, String>,
    /// SET LOCAL, until the transaction ends.
    local: BTreeMap<&'static str, String>,
    /// `namespace.name`: anybody's.
    custom: BTreeMap<String, String>,
    /// Rises with each change: what was made of the values is made again when it has.
    version: u64,
}

impl Variables {
    /// The value now.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let Some(variable) = find(name) else { return self.custom.get(&name.to_ascii_lowercase()).cloned() };
        let name = variable.name;
        let value = self.local.get(name).or_else(|| self.set.get(name)).or_else(|| self.initial.get(name));
        Some(value.cloned().unwrap_or_else(|| variable.default.to_owned()))
    }

    /// Another number than before if a value may have changed.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Whether a boolean setting is on.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value == "on")
    }

    /// Fixes a value that the session begins with.
    pub(crate) fn begin_with(&mut self, name: &str, value: &str) -> Result<()> {
        let variable = known(name)?;
        let value = if variable.effect == Effect::ReadOnly { value.to_owned() } else { check(variable, value)? };
        self.initial.insert(variable.name, value);
        self.version += 1;
        Ok(())
    }

    /// SET; `None`: the default. Says which client-visible parameter changed.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>, local: bool) -> Result<Option<&'static Variable>> {
        self.version += 1;
        if name.contains('.') && find(name).is_none() {
            match value {
                Some(value) => self.custom.insert(name.to_ascii_lowercase(), value.to_owned()),
                None => self.custom.remove(&name.to_ascii_lowercase()),
            };
            return Ok(None);
        }
        let variable = known(name)?;
        if variable.effect == Effect::ReadOnly {
            return Err(Error::new(
                ErrorKind::CantChangeNow,
                format!("parameter \"{}\" cannot be changed", variable.name),
            ));
        }
        let before = self.get(variable.name);
        match value {
            Some(value) => {
                let value = check(variable, value)?;
                if local {
                    self.local.insert(variable.name, value);
                } else {
                    self.local.remove(variable.name);
                    self.set.insert(variable.name, value);
                }
            }
            None => {
                self.local.remove(variable.name);
                self.set.remove(variable.name);
            }
        }
        Ok(Some(variable).filter(|variable| variable.reported && before != self.get(variable.name)))
    }

    /// RESET ALL, and the end of a session in DISCARD ALL.
    pub(crate) fn reset_all(&mut self) {
        self.set.clear();
        self.local.clear();
        self.custom.clear();
        self.version += 1;
    }

    /// The transaction has ended.
    pub(crate) fn end_transaction(&mut self) {
        if !self.local.is_empty() {
            self.local.clear();
            self.version += 1;
        }
    }

    /// Before a transaction, for the case that it rolls back.
    pub(crate) fn save(&self) -> Self {
        self.clone()
    }

    /// Goes back to what [`Variables::save`] gave.
    pub(crate) fn restore(&mut self, saved: Self) {
        let version = self.version + 1;
        *self = Self { version, ..saved };
    }
}

fn known(name: &str) -> Result<&'static Variable> {
    find(name).ok_or_else(|| unknown(name))
}

/// The error that there is no variable of that name, with the nearest that there is.
pub(crate) fn unknown(name: &str) -> Error {
    let error = Error::new(ErrorKind::UndefinedObject, format!("unrecognized configuration parameter \"{name}\""));
    let distance = |v: &&Variable| strsim::osa_distance(&v.name.to_ascii_lowercase(), &name.to_ascii_lowercase());
    match VARIABLES.iter().min_by_key(distance).filter(|near| distance(near) <= 2) {
        Some(near) => error.with_hint(format!("did you mean \"{}\"?", near.name)),
        None => error.with_hint("SHOW ALL lists the parameters"),
    }
}

/// The value in its normal form.
fn check(variable: &Variable, value: &str) -> Result<String> {
    let value = value.trim();
    let normal = normal_form(variable.kind, value).ok_or_else(|| {
        let error = Error::new(
            ErrorKind::InvalidParameterValue,
            format!("invalid value for parameter \"{}\": \"{value}\"", variable.name),
        );
        match variable.kind {
            Kind::OneOf(values) => error.with_hint(format!("available values: {}", values.join(", "))),
            Kind::Encoding => error.with_hint("the only encoding is UTF8"),
            Kind::DateStyle => error.with_hint("the only date style is ISO"),
            Kind::TimeZone => error.with_hint(
                "write an IANA name such as Europe/Berlin, hours east of Greenwich, or a POSIX form such as UTC-3",
            ),
            _ => error,
        }
    })?;
    if variable.effect == Effect::Fixed && normal != variable.default {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("parameter \"{}\" cannot be other than \"{}\"", variable.name, variable.default),
        ));
    }
    Ok(normal)
}

fn normal_form(kind: Kind, value: &str) -> Option<String> {
    match kind {
        Kind::Text => Some(value.to_owned()),
        Kind::Bool => match value.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" | "1" | "t" | "y" => Some("on".to_owned()),
            "off" | "false" | "no" | "0" | "f" | "n" => Some("off".to_owned()),
            _ => None,
        },
        Kind::Integer => value.parse::<i64>().ok().map(|number| number.to_string()),
        Kind::Milliseconds => match value.parse::<u64>() {
            Ok(number) => Some(number.to_string()),
            Err(_) => crate::inputs::parse_duration(value).map(|time| time.as_millis().to_string()),
        },
        Kind::OneOf(values) => {
            let value = value.to_ascii_lowercase();
            values.iter().find(|candidate| **candidate == value).map(|found| (*found).to_owned())
        }
        Kind::TimeZone => planner::time_zone::setting(value),
        Kind::DateStyle => {
            let value = value.to_ascii_uppercase();
            let mut parts = value.split(',').map(str::trim);
            let known = |part: &str| matches!(part, "ISO" | "MDY" | "DMY" | "YMD" | "US" | "EURO" | "EUROPEAN");
            parts.all(known).then(|| "ISO, MDY".to_owned())
        }
        Kind::Encoding => {
            let name: String = value.chars().filter(char::is_ascii_alphanumeric).collect();
            matches!(name.to_ascii_uppercase().as_str(), "UTF8" | "UNICODE").then(|| "UTF8".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_checked_and_normalised() {
        let mut variables = Variables::default();
        assert_eq!(variables.get("timezone").as_deref(), Some("UTC"));
        variables.set("TIMEZONE", Some("europe/berlin"), false).expect("a zone");
        assert_eq!(variables.get("TimeZone").as_deref(), Some("Europe/Berlin"));
        variables.set("statement_timeout", Some("2s"), true).expect("a time");
        assert_eq!(variables.get("statement_timeout").as_deref(), Some("2000"));
        variables.end_transaction();
        assert_eq!(variables.get("statement_timeout").as_deref(), Some("0"));
        let error = variables.set("statement_timout", Some("1"), false).expect_err("a slip");
        assert_eq!(error.hint.as_deref(), Some("did you mean \"statement_timeout\"?"));
        assert_eq!(
            variables.set("server_version", Some("9"), false).expect_err("fixed").kind,
            ErrorKind::CantChangeNow
        );
        assert_eq!(
            variables.set("client_encoding", Some("latin1"), false).expect_err("bad").kind,
            ErrorKind::InvalidParameterValue
        );
        variables.set("myapp.user", Some("7"), false).expect("anybody's");
        assert_eq!(variables.get("myapp.user").as_deref(), Some("7"));
    }
}
