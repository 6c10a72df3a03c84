//! The life of the process: start, serve, drain, end.

use std::time::{Duration, Instant};

use anyhow::Context;
use edge::Listener;
use gateway::Upstream;
use supervision::{Failure, Supervisor, Unit};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::assemble::{self, House};
use crate::demo;
use crate::drain::{Limit, Overdue};
use crate::exit;
use crate::plan::Plan;
use crate::ready::{self, Ready};
use crate::signals::Signals;
use crate::telemetry::{self, Exporter, LogStream};

/// What is added to the configured times for what is stored, and for the last spans.
const STORE_DRAIN: Duration = Duration::from_secs(5);

/// What invocations have even where the realtime service took all the time.
const FUNCTIONS_DRAIN_MIN: Duration = Duration::from_secs(1);

/// How long what still works may take to end where a part has failed: whatever starts the process again waits for it.
const FAILED_DRAIN: Duration = Duration::from_secs(3);

/// Runs until asked to end, or until a part ends without which it cannot go on.
pub(crate) fn run(plan: Plan) -> anyhow::Result<()> {
    let stream = if plan.json { LogStream::Stderr } else { LogStream::Stdout };
    let pretty = telemetry::start_logging(&plan.config.telemetry, stream);
    match edge::raise_open_files() {
        Ok(files) => tracing::debug!(files, "as many files as the process may open"),
        Err(cause) => tracing::warn!(%cause, "the bound on open files stays where the shell put it"),
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let ended = runtime.block_on(async {
        if plan.demo {
            demo::install_packages(&plan.app, pretty).await?;
        }
        serve(plan, pretty).await
    });
    // Whoever asked twice does not want to wait for work that blocks.
    runtime.shutdown_background();
    match ended {
        // These were logged where they happened, and have meanings of their own for the exit code.
        Err(error) if error.is::<Overdue>() || error.is::<Failure>() => Err(error),
        // Among lines of JSON on the same stream, the error is one of them.
        Err(error) if !pretty && stream == LogStream::Stderr => {
            tracing::error!(causes = ?error.chain().skip(1).map(ToString::to_string).collect::<Vec<_>>(), "{error}");
            Err(Logged { code: exit::code(&error) }.into())
        }
        ended => ended,
    }
}

/// The error was logged; nothing is left to say.
#[derive(Debug, thiserror::Error)]
#[error("the log has the error")]
pub(crate) struct Logged {
    /// The exit code of that error.
    pub(crate) code: u8,
}

async fn serve(plan: Plan, pretty: bool) -> anyhow::Result<()> {
    let house = assemble::assemble(&plan).await?;
    let (stopping, stop) = watch::channel(false);
    let (functions_stopping, functions_stop) = watch::channel(false);
    // Told to stop on its own, last of all: the spans of what drains are to leave as well.
    let (exported, export_stop) = watch::channel(false);
    let exporter = exporter(&plan, &house).map(|exporter| export(&house.supervisor, exporter, export_stop));
    let mut listeners = listen(house.served, &stop, &functions_stop, &house.supervisor);
    house.process.set_ready();
    let clients_limit = Duration::from_millis(plan.config.drain_timeout_ms.get());
    let requests_limit = Duration::from_millis(plan.config.edge.drain_timeout_ms.get());
    let limit = Limit::new(clients_limit + requests_limit + STORE_DRAIN);
    // Before anybody is told that we are ready, and may ask us to end.
    let mut signals = Signals::watch();
    limit.guard()?;
    announce(&plan, &house.ready_line, pretty);
    let base = house.ready_line.functions_url();
    let open = plan.demo.then(|| house.ready_line.gateway_url());
    let listing = tokio::spawn(list_functions(house.functions.clone(), base, open, pretty && !plan.json));

    let failure = end_is_due(&mut signals, &house.supervisor, &limit).await;
    listing.abort();
    if failure.is_none() {
        house.process.set_not_ready("draining");
    }
    house.supervisor.stopping();
    let drain = async {
        let began = Instant::now();
        // Callers of functions are to go to another process at once, as with the vendor's host; calls that run are let end.
        let _ = functions_stopping.send(true);
        // Clients are told to come back before the listeners close, so that no other order shows them a refused port first.
        limit.step("the realtime service");
        // Its parts take the limit for each of them.
        if tokio::time::timeout(clients_limit, house.realtime.drain(clients_limit)).await.is_err() {
            tracing::warn!(
                "the realtime service did not drain in time: what it still had to tell is cut off"
            );
        }
        if let Some(functions) = &house.functions {
            limit.step("the functions host");
            functions.drain(clients_limit.saturating_sub(began.elapsed()).max(FUNCTIONS_DRAIN_MIN)).await;
        }
        limit.step("requests that run");
        // Nobody listens any more only if every listener has ended already.
        let _ = stopping.send(true);
        while listeners.join_next().await.is_some() {}
        limit.step("the document store");
        house.documents.drain().await;
        limit.step("the journal and the registry");
        house.store.close().await;
        // Only now: an ephemeral process keeps its data until nobody writes any more.
        drop(house.temporary);
        if let Some(exporter) = exporter {
            limit.step("the export of spans");
            // Fails only if the exporter has ended already; a panic of it was logged where it happened.
            let _ = exported.send(true);
            let _ = exporter.await;
        }
        limit.step("requests that we make");
        house.egress.close().await;
    };
    tokio::select! {
        () = drain => tracing::info!("drained"),
        () = tokio::time::sleep(FAILED_DRAIN), if failure.is_some() => {}
        overdue = limit.reached() => {
            tracing::error!("{overdue}");
            return Err(overdue.into());
        }
        () = signals.asked_to_end() => tracing::warn!("asked again: ending at once"),
    }
    failure.map_or(Ok(()), |failure| Err(failure.into()))
}

/// Serves each listener in a task of its own, until it is told to stop; that of the functions is told by `functions_stop`.
fn listen(
    served: Vec<(&'static str, Listener, Upstream)>,
    stop: &watch::Receiver<bool>,
    functions_stop: &watch::Receiver<bool>,
    supervisor: &Supervisor,
) -> JoinSet<()> {
    let mut listeners = JoinSet::new();
    for (name, listener, service) in served {
        let stop = if name == "functions" { functions_stop } else { stop };
        let (mut stop, supervisor) = (stop.clone(), supervisor.clone());
        listeners.spawn(async move {
            let serve = |unit: Unit| async move {
                unit.fault_point();
                // A dropped sender means that the process is ending as well.
                let stopped = async { drop(stop.wait_for(|stop| *stop).await) };
                if let Err(cause) = listener.serve(service, stopped).await {
                    tracing::error!(listener = name, %cause, "a listener cannot serve");
                }
            };
            // What it gives is that it ended, of which the supervisor has been told.
            let _ = supervisor.essential(&format!("listener of {name}"), serve).await;
        });
    }
    listeners
}

/// Exports spans until it is told to stop.
fn export(supervisor: &Supervisor, exporter: Exporter, stop: watch::Receiver<bool>) -> JoinHandle<()> {
    let supervisor = supervisor.clone();
    let run = move |unit: Unit| {
        let run = exporter.clone().run(stop.clone());
        async move {
            unit.fault_point();
            run.await;
        }
    };
    tokio::spawn(async move { supervisor.restarting("export of spans", run).await })
}

/// Waits until somebody asks the process to end, or until it cannot go on.
async fn end_is_due(signals: &mut Signals, supervisor: &Supervisor, limit: &Limit) -> Option<Failure> {
    tokio::select! {
        () = signals.asked_to_end() => {
            let limit_s = limit.total().as_secs();
            tracing::info!("asked to end: draining for at most {limit_s} s; ask again to end at once");
            None
        }
        failure = supervisor.failed() => {
            tracing::error!("{failure}");
            Some(failure)
        }
    }
}

/// Says where everything is: to a machine that waits for it, to a person, or to the log.
fn announce(plan: &Plan, ready: &Ready, pretty: bool) {
    if plan.json {
        ready::print(&ready.facts().to_string());
        return;
    }
    if pretty {
        ready::print(&ready.text());
    } else {
        tracing::info!(urls = %ready.urls(), "listening");
    }
}

/// Says which functions there are, once the worker has told; and what to open, where that is the app's page. An app that fails at first
/// has said so in the log, and is listed when it runs.
async fn list_functions(
    functions: Option<functions::Handle>,
    base: String,
    open: Option<String>,
    as_text: bool,
) {
    let Some(functions) = functions else { return };
    if !functions.started().await {
        return;
    }
    let mut text = functions.startup_listing(&base);
    text += &ready::settings_text(&functions.settings_used()).unwrap_or_default();
    if let Some(url) = open {
        text += &format!("\n  Open {url}\n");
    }
    if as_text {
        ready::print(&text);
        return;
    }
    // A record for each line that says something.
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        tracing::info!(target: "functions", "{line}");
    }
}

fn exporter(plan: &Plan, house: &House) -> Option<Exporter> {
    let configured = plan.config.telemetry.otlp_endpoint.as_deref();
    let endpoint =
        configured.or_else(|| plan.environment.get("OTEL_EXPORTER_OTLP_ENDPOINT").map(String::as_str));
    let endpoint = endpoint.filter(|endpoint| !endpoint.is_empty())?;
    Some(Exporter::new(house.tracer.clone(), house.egress.clone(), endpoint))
}
