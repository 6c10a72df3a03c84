//! Logs and traces of the process: set up once, before anything else happens.

mod json;
mod logs;
mod otlp;
mod span_fields;

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use crate::config::{LogFormat, TelemetrySection};

pub(crate) use otlp::Exporter;

/// Where log lines go: standard output, as Functions Core Tools users and their scripts expect; standard error when standard
/// output carries something a machine reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogStream {
    Stdout,
    Stderr,
}

/// Changes what is logged. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LevelHandle(reload::Handle<EnvFilter, Registry>);

impl LevelHandle {
    /// Logs what a filter lets pass, from now on.
    ///
    /// # Errors
    ///
    /// If the text is no filter; the level stays as it was.
    pub(crate) fn set(&self, level: &str) -> Result<(), String> {
        let filter = EnvFilter::builder().parse(level);
        let filter = filter.map_err(|cause| format!("{level:?} is not a log filter ({cause})"))?;
        self.0.reload(filter).map_err(|cause| cause.to_string())
    }
}

/// Starts logging; returns whether the lines are text for people. A wrong filter is logged and never fatal: changing the level
/// must not stop the service.
pub(crate) fn start_logging(options: &TelemetrySection, stream: LogStream) -> (bool, LevelHandle) {
    let (filter, complaint) = match EnvFilter::builder().parse(&options.level) {
        Ok(filter) => (filter, None),
        Err(cause) => {
            let complaint =
                format!("telemetry.level {:?} is not a log filter ({cause}); logging at info", options.level);
            (EnvFilter::new("info"), Some(complaint))
        }
    };
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter).with(span_fields::SpanFields);
    let pretty = match options.format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => stream.is_terminal(),
    };
    if pretty {
        let colour = stream.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let layer = tracing_subscriber::fmt::layer().with_ansi(colour);
        registry.with(layer.event_format(logs::ToolsFormat).with_writer(stream)).init();
    } else {
        let layer = tracing_subscriber::fmt::layer().with_ansi(false);
        registry.with(layer.event_format(json::JsonFormat).with_writer(stream)).init();
    }
    if let Some(complaint) = complaint {
        tracing::warn!("{complaint}");
    }
    (pretty, LevelHandle(handle))
}

impl LogStream {
    fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
        }
    }
}

impl MakeWriter<'_> for LogStream {
    type Writer = Box<dyn Write>;

    fn make_writer(&self) -> Self::Writer {
        match self {
            Self::Stdout => Box::new(io::stdout()),
            Self::Stderr => Box::new(io::stderr()),
        }
    }
}
