//! Log lines of the app: the levels of their categories ([`LogLevels`]), and their destinations ([`Logs`]): `tracing`, a bounded tail
//! in memory, and subscribers.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use http_messages::ErrorDescription;
use serde::Serialize;
use serde_json::{Map, Value as Json};
use tokio::sync::broadcast;
use worker_protocol::LogLevel;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Its number, from 1, without gaps.
    pub number: u64,
    /// When it was written.
    pub at: SystemTime,
    /// Its level.
    pub level: Level,
    /// The function it belongs to.
    pub function: Option<String>,
    /// The invocation it belongs to.
    pub invocation_id: Option<String>,
    /// Whether the function wrote it, not the host.
    pub from_user: bool,
    /// The stable code, if it reports an error of the host ([`crate::ERRORS`]).
    pub code: Option<&'static str>,
    /// The text; may have several lines.
    pub text: String,
}

/// The level of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The most detailed level.
    Trace,
    /// For developers.
    Debug,
    /// Normal.
    Info,
    /// Unusual.
    Warn,
    /// An operation failed.
    Error,
}

/// The app's log; cheap to clone.
#[derive(Clone, Debug)]
pub struct Logs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tail: Mutex<Tail>,
    live: broadcast::Sender<LogLine>,
    levels: Mutex<LogLevels>,
    lines_max: usize,
    text_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<LogLine>,
    number_last: u64,
}

/// The category of a line, which decides about its level.
#[derive(Clone, Copy)]
enum Category<'a> {
    Host,
    /// The host writes about a function.
    Function(&'a str),
    /// The function writes, or one that is not known.
    User(Option<&'a str>),
}

/// Where a line comes from.
#[derive(Clone, Copy, Default)]
struct LineOrigin<'a> {
    function: Option<&'a str>,
    /// Of the invocation.
    id: Option<&'a str>,
    from_user: bool,
    code: Option<&'static str>,
}

/// `logging.logLevel` of `host.json`: the lowest level of each category. The longest matching category applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogLevels {
    /// Category and level; `None` = no lines. Longest category first.
    rules: Vec<(String, Option<Level>)>,
    default: Option<Option<Level>>,
}

impl Logs {
    /// A log that keeps the newest `lines_max` lines, each truncated to `text_bytes_max` bytes.
    pub(crate) fn new(lines_max: usize, text_bytes_max: usize) -> Self {
        let (live, _) = broadcast::channel(lines_max.clamp(1, 1024));
        let shared = Shared {
            tail: Mutex::default(),
            live,
            levels: Mutex::default(),
            lines_max: lines_max.max(1),
            text_bytes_max,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The lines in memory with a number above `after`, oldest first.
    pub fn tail(&self, after: u64) -> Vec<LogLine> {
        let tail = self.shared.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.lines.iter().filter(|line| line.number > after).cloned().collect()
    }

    /// Lines from now on. A subscriber that is too slow misses lines and gets their number.
    pub fn subscribe(&self) -> broadcast::Receiver<LogLine> {
        self.shared.live.subscribe()
    }

    pub(crate) fn set_levels(&self, levels: LogLevels) {
        *self.shared.levels.lock().unwrap_or_else(PoisonError::into_inner) = levels;
    }

    /// Writes a line about the host itself.
    pub(crate) fn host(&self, level: Level, text: impl Into<String>) {
        self.write(level, Category::Host, LineOrigin::default(), text.into());
    }

    /// Writes an error of the host itself.
    pub(crate) fn host_error(&self, error: &ErrorDescription, text: impl Into<String>) {
        let origin = LineOrigin { code: Some(error.code), ..LineOrigin::default() };
        self.write(Level::Error, Category::Host, origin, text.into());
    }

    /// As [`Logs::host_error`], for an error that does not keep the app from running.
    pub(crate) fn host_warning(&self, error: &ErrorDescription, text: impl Into<String>) {
        let origin = LineOrigin { code: Some(error.code), ..LineOrigin::default() };
        self.write(Level::Warn, Category::Host, origin, text.into());
    }

    /// Writes a line of the host about a function.
    pub(crate) fn function(&self, level: Level, function: &str, id: Option<&str>, text: impl Into<String>) {
        let origin = LineOrigin { function: Some(function), id, ..LineOrigin::default() };
        self.write(level, Category::Function(function), origin, text.into());
    }

    /// Writes an error of a function or of one of its invocations.
    pub(crate) fn function_error(
        &self,
        error: &ErrorDescription,
        function: &str,
        id: Option<&str>,
        text: impl Into<String>,
    ) {
        let origin = LineOrigin { function: Some(function), id, from_user: false, code: Some(error.code) };
        self.write(Level::Error, Category::Function(function), origin, text.into());
    }

    /// As [`Logs::function_error`], for an error that passes by itself.
    pub(crate) fn function_warning(&self, error: &ErrorDescription, function: &str, text: impl Into<String>) {
        let origin =
            LineOrigin { function: Some(function), id: None, from_user: false, code: Some(error.code) };
        self.write(Level::Warn, Category::Function(function), origin, text.into());
    }

    /// Writes a line of the function itself.
    pub(crate) fn user(&self, level: Level, function: Option<&str>, id: Option<&str>, text: String) {
        let category = Category::User(function);
        self.write(level, category, LineOrigin { function, id, from_user: true, code: None }, text);
    }

    fn write(&self, level: Level, category: Category<'_>, origin: LineOrigin<'_>, mut text: String) {
        if !self.shared.levels.lock().unwrap_or_else(PoisonError::into_inner).keeps(category, level) {
            return;
        }
        truncate(&mut text, self.shared.text_bytes_max);
        emit(level, origin, &text);
        let mut tail = self.shared.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.number_last += 1;
        let line = LogLine {
            number: tail.number_last,
            at: SystemTime::now(),
            level,
            function: origin.function.map(str::to_owned),
            invocation_id: origin.id.map(str::to_owned),
            from_user: origin.from_user,
            code: origin.code,
            text,
        };
        if tail.lines.len() == self.shared.lines_max {
            tail.lines.pop_front();
        }
        // Sent under the lock, so that subscribers get the lines in order. Usually there are none.
        if self.shared.live.receiver_count() > 0 {
            let _ = self.shared.live.send(line.clone());
        }
        tail.lines.push_back(line);
    }
}

/// Passes the line to `tracing`. Targets are compile-time constants, so the name of the function is a field.
fn emit(level: Level, origin: LineOrigin<'_>, text: &str) {
    let LineOrigin { function, id, from_user, code } = origin;
    macro_rules! at {
        ($level:ident) => {
            if from_user {
                tracing::$level!(target: "functions::user", function, invocation_id = id, "{text}")
            } else {
                tracing::$level!(target: "functions::host", function, invocation_id = id, code, "{text}")
            }
        };
    }
    match level {
        Level::Trace => at!(trace),
        Level::Debug => at!(debug),
        Level::Info => at!(info),
        Level::Warn => at!(warn),
        Level::Error => at!(error),
    }
}

fn truncate(text: &mut String, bytes_max: usize) {
    if text.len() <= bytes_max {
        return;
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let missing = text.len() - end;
    text.truncate(end);
    text.push_str(&format!("… ({missing} bytes omitted)"));
}

impl Level {
    /// The level of a worker's record. `Critical` becomes an error; `None` is only used in filters.
    pub(crate) fn from_protocol(level: LogLevel) -> Self {
        match level {
            LogLevel::Trace => Self::Trace,
            LogLevel::Debug => Self::Debug,
            LogLevel::Information | LogLevel::None => Self::Info,
            LogLevel::Warning => Self::Warn,
            LogLevel::Error | LogLevel::Critical => Self::Error,
        }
    }
}

impl LogLevels {
    /// Reads `logging.logLevel`.
    pub(crate) fn parse(section: Option<&Map<String, Json>>) -> Result<Self, String> {
        let mut levels = Self::default();
        for (category, value) in section.into_iter().flatten() {
            let text = value.as_str().unwrap_or_default();
            let level = match text.to_ascii_lowercase().as_str() {
                "trace" => Some(Level::Trace),
                "debug" => Some(Level::Debug),
                "information" => Some(Level::Info),
                "warning" => Some(Level::Warn),
                "error" | "critical" => Some(Level::Error),
                "none" => None,
                _ => {
                    return Err(format!(
                        "logging.logLevel.{category} is {value}; use one of Trace, Debug, Information, Warning, Error, \
                         Critical, None"
                    ));
                }
            };
            if category.eq_ignore_ascii_case("default") {
                levels.default = Some(level);
            } else {
                levels.rules.push((category.to_ascii_lowercase(), level));
            }
        }
        levels.rules.sort_by_key(|(category, _)| std::cmp::Reverse(category.len()));
        Ok(levels)
    }

    fn keeps(&self, category: Category<'_>, level: Level) -> bool {
        let rule = if self.rules.is_empty() { None } else { self.rule(&category.name()) };
        let lowest = rule.or(self.default).unwrap_or(Some(Level::Info));
        lowest.is_some_and(|lowest| level >= lowest)
    }

    /// The level of the rule that applies to a category.
    fn rule(&self, category: &str) -> Option<Option<Level>> {
        let category = category.to_ascii_lowercase();
        let matches = |rule: &str| {
            category.strip_prefix(rule).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.rules.iter().find(|(rule, _)| matches(rule)).map(|(_, level)| *level)
    }
}

impl Category<'_> {
    /// The name in `host.json`.
    fn name(self) -> Cow<'static, str> {
        match self {
            Self::Host => "Host".into(),
            Self::Function(name) => format!("Function.{name}").into(),
            Self::User(Some(name)) => format!("Function.{name}.User").into(),
            Self::User(None) => "Function".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_matching_category_sets_the_level() {
        let Json::Object(section) = serde_json::json!({
            "default": "Warning", "Function": "Error", "Function.noisy": "None", "Function.noisy.User": "Debug"
        }) else {
            panic!("not an object")
        };
        let levels = LogLevels::parse(Some(&section)).expect("valid");
        assert!(!levels.keeps(Category::Host, Level::Info));
        assert!(levels.keeps(Category::Host, Level::Warn));
        assert!(!levels.keeps(Category::User(Some("quiet")), Level::Warn));
        assert!(!levels.keeps(Category::Function("noisy"), Level::Error));
        assert!(levels.keeps(Category::User(Some("noisy")), Level::Debug));
    }

    #[test]
    fn the_tail_is_bounded_and_numbered() {
        let logs = Logs::new(2, 8);
        for text in ["one", "two", "a long line"] {
            logs.user(Level::Info, Some("f"), None, text.to_owned());
        }
        let texts: Vec<_> = logs.tail(0).into_iter().map(|line| (line.number, line.text)).collect();
        assert_eq!(texts, [(2, "two".to_owned()), (3, "a long l… (3 bytes omitted)".to_owned())]);
        assert_eq!(logs.tail(3), []);
    }
}
