//! Logs and traces of the process: set up once, before everything else. Level and format may change while the process runs.

mod json;
mod logs;
mod otlp;
mod span_fields;
#[cfg(test)]
mod tests;
mod timestamp;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::change::Change;
use crate::config::{LogFormat, TelemetrySection};
use json::JsonFormat;
use logs::ToolsFormat;

pub(crate) use otlp::Exporter;

/// Where log lines go: standard output, as Functions Core Tools users and their scripts expect; standard error if standard output
/// is read by a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogStream {
    Stdout,
    Stderr,
}

/// Changes the level and the format of the log. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LogHandle {
    level: reload::Handle<EnvFilter, Registry>,
    is_text: Arc<AtomicBool>,
    stream: LogStream,
}

impl LogHandle {
    /// Prepares the level and format of a changed configuration.
    ///
    /// # Errors
    ///
    /// If the level is not a log filter.
    pub(crate) fn prepare(&self, options: &TelemetrySection) -> Result<Change, String> {
        let level = &options.level;
        let filter = EnvFilter::builder().parse(level);
        let filter = filter.map_err(|cause| format!("{level:?} is not a log filter ({cause})"))?;
        let (handle, is_text) = (self.clone(), self.stream.is_text(options.format));
        Ok(Change::new(move || {
            handle.is_text.store(is_text, Ordering::Relaxed);
            // Fails only if the subscriber no longer exists; it exists as long as the process.
            let _ = handle.level.reload(filter);
        }))
    }
}

/// Starts logging; returns whether the lines are text for people. A wrong filter is logged and is not fatal: a misspelt level must
/// not stop the service.
pub(crate) fn start_logging(options: &TelemetrySection, stream: LogStream) -> (bool, LogHandle) {
    let (filter, complaint) = match EnvFilter::builder().parse(&options.level) {
        Ok(filter) => (filter, None),
        Err(cause) => {
            let complaint =
                format!("telemetry.level {:?} is not a log filter ({cause}); logging at info", options.level);
            (EnvFilter::new("info"), Some(complaint))
        }
    };
    let (filter, level) = reload::Layer::new(filter);
    let is_text = Arc::new(AtomicBool::new(stream.is_text(options.format)));
    let colour = stream.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let layer = tracing_subscriber::fmt::layer()
        .with_ansi(colour)
        .fmt_fields(span_fields::NoSpanText)
        .event_format(EitherFormat { is_text: Arc::clone(&is_text) })
        .with_writer(stream);
    tracing_subscriber::registry().with(filter).with(span_fields::SpanFields).with(layer).init();
    if let Some(complaint) = complaint {
        tracing::warn!("{complaint}");
    }
    let is_text_now = is_text.load(Ordering::Relaxed);
    (is_text_now, LogHandle { level, is_text, stream })
}

/// The current format.
struct EitherFormat {
    is_text: Arc<AtomicBool>,
}

impl<S, N> FormatEvent<S, N> for EitherFormat
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if self.is_text.load(Ordering::Relaxed) {
            ToolsFormat.format_event(context, writer, event)
        } else {
            JsonFormat.format_event(context, writer, event)
        }
    }
}

impl LogStream {
    fn is_text(self, format: LogFormat) -> bool {
        match format {
            LogFormat::Text => true,
            LogFormat::Json => false,
            LogFormat::Auto => self.is_terminal(),
        }
    }

    fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
        }
    }
}

/// One of the two streams, without an allocation for each line.
pub(crate) enum LogWriter {
    Stdout(io::Stdout),
    Stderr(io::Stderr),
}

impl MakeWriter<'_> for LogStream {
    type Writer = LogWriter;

    fn make_writer(&self) -> Self::Writer {
        match self {
            Self::Stdout => LogWriter::Stdout(io::stdout()),
            Self::Stderr => LogWriter::Stderr(io::stderr()),
        }
    }
}

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(stream) => stream.write(bytes),
            Self::Stderr(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stream) => stream.flush(),
            Self::Stderr(stream) => stream.flush(),
        }
    }
}
