//! The life cycle of the process: start, serve, drain, end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use supervision::{Failure, Supervisor, Unit};
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::admin::Reload;
use crate::assemble::{Process, ServedListener, assemble};
use crate::command_error::CommandError;
use crate::config::Config;
use crate::demo;
use crate::drain::{Limit, Overdue};
use crate::error_code;
use crate::error_table::process;
use crate::exit::{self, Logged};
use crate::plan::Plan;
use crate::ready::{self, Ready};
use crate::reload::{ReloadPart, Reloader};
use crate::services::Table;
use crate::signals::{Hangups, Signals};
use crate::telemetry::{self, Exporter, LogHandle, LogStream};

/// Added to the configured limits, for storage and for the last spans.
const STORE_DRAIN: Duration = Duration::from_secs(5);

/// Longest time for the other parts to end after a part has failed: a service manager waits for it before it restarts the process.
const FAILED_DRAIN: Duration = Duration::from_secs(3);

/// Runs until the process is asked to end, or until a part ends that it cannot continue without.
pub(crate) fn run(plan: Plan, table: Table) -> anyhow::Result<()> {
    let stream = if plan.json { LogStream::Stderr } else { LogStream::Stdout };
    let (pretty, log) = telemetry::start_logging(&plan.config.telemetry, stream);
    match edge::raise_open_files() {
        Ok(files) => tracing::debug!(files, "as many files as the process may open"),
        Err(cause) => tracing::warn!(%cause, "the bound on open files stays where the shell put it"),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context(CommandError::new(&process::RUNTIME, "start the runtime"))?;
    let ended = runtime.block_on(async {
        if plan.demo {
            demo::install_packages(&plan.app, pretty).await?;
        }
        serve(plan, table, pretty, log).await
    });
    // After a second signal the process does not wait for blocking work.
    runtime.shutdown_background();
    match ended {
        // These were logged where they occurred, and have exit codes of their own.
        Err(error) if error.is::<Overdue>() || error.is::<Failure>() => Err(error),
        // If the same stream has lines of JSON, the error is one of them.
        Err(error) if !pretty && stream == LogStream::Stderr => {
            let code = error_code::describe(&error).code;
            tracing::error!(code, causes = ?error.chain().skip(1).map(ToString::to_string).collect::<Vec<_>>(), "{error}");
            Err(Logged { code: exit::code(&error) }.into())
        }
        ended => ended,
    }
}

async fn serve(plan: Plan, table: Table, pretty: bool, log: LogHandle) -> anyhow::Result<()> {
    let mut process = assemble(&plan, table).await?;
    let (stopping, stop) = watch::channel(false);
    let (first_stopping, first_stop) = watch::channel(false);
    // The exporter is stopped separately and last: it must also send the spans of draining services.
    let (exported, export_stop) = watch::channel(false);
    let supervisor = process.supervisor.clone();
    let exporter = exporter(&plan, &process).map(|exporter| export(&supervisor, exporter, export_stop));
    let mut listeners = listen(std::mem::take(&mut process.served), &stop, &first_stop, &supervisor);
    process.component.set_ready();
    let clients_limit = Duration::from_millis(plan.config.drain_timeout_ms.get());
    let requests_limit = Duration::from_millis(plan.config.edge.drain_timeout_ms.get());
    let limit = Limit::new(clients_limit + requests_limit + STORE_DRAIN);
    // Watch before the ready line is printed: its reader may send a signal at once.
    let mut signals = Signals::watch();
    limit.guard()?;
    let reloading = follow_configuration(&plan, &process, log);
    announce(&plan, &process.ready_line, pretty);
    let listing = tokio::spawn(list(&process, plan.demo, pretty && !plan.json));

    let failure = end_is_due(&mut signals, &supervisor, &limit).await;
    listing.abort();
    reloading.abort();
    // Aborted: it has no work to finish.
    let _ = reloading.await;
    if failure.is_none() {
        process.component.set_not_ready("draining");
    }
    supervisor.stopping();
    let drain = async {
        // Callers of such services should go to another process immediately, as with the Azure Functions host; running calls are
        // completed.
        let _ = first_stopping.send(true);
        let egress = process.resources.egress.clone();
        let all_listeners = async {
            // There is no receiver only if every listener has already ended.
            let _ = stopping.send(true);
            while listeners.join_next().await.is_some() {}
        };
        process.drain_services(clients_limit, |what| limit.step(what), all_listeners).await;
        limit.step("the journal and the registry");
        process.close().await;
        if let Some(exporter) = exporter {
            limit.step("the export of spans");
            // Fails only if the exporter has already ended; its panic was logged where it occurred.
            let _ = exported.send(true);
            let _ = exporter.await;
        }
        limit.step("requests that we make");
        egress.close().await;
    };
    tokio::select! {
        () = drain => tracing::info!("drained"),
        () = tokio::time::sleep(FAILED_DRAIN), if failure.is_some() => {}
        overdue = limit.limit_reached() => {
            tracing::error!(code = process::NOT_DRAINED.code, "{overdue}");
            return Err(overdue.into());
        }
        () = signals.termination_requested() => tracing::warn!("asked again: ending at once"),
    }
    failure.map_or(Ok(()), |failure| Err(failure.into()))
}

/// Applies changes of the configuration until the task is aborted.
fn follow_configuration(plan: &Plan, process: &Process, log: LogHandle) -> JoinHandle<()> {
    let prepare_log = move |config: &Config| log.prepare(&config.telemetry);
    let mut parts = process.parts();
    parts.push(ReloadPart { section: "telemetry".to_owned(), prepare: Box::new(prepare_log) });
    let reloader = Reloader::new(plan, parts);
    if let Some(admin) = &process.admin {
        let reloader = reloader.clone();
        let reload: Reload = Box::new(move || {
            let reloader = reloader.clone();
            Box::pin(async move {
                let report = reloader.reload().await.map_err(|error| error.to_string())?;
                serde_json::to_value(report).map_err(|error| error.to_string())
            })
        });
        admin.set_reload(reload);
    }
    let (supervisor, watches_files) = (process.supervisor.clone(), plan.config.reload_on_change);
    // Watch from here on: no signal is missed, and none kills the process.
    let hangups = Arc::new(Mutex::new(Hangups::watch()));
    tokio::spawn(async move {
        let follow = |unit: Unit| {
            let (reloader, hangups) = (reloader.clone(), Arc::clone(&hangups));
            async move {
                unit.fault_point();
                reloader.follow(&mut *hangups.lock().await, watches_files).await;
            }
        };
        supervisor.restarting("configuration", follow).await;
    })
}

/// Serves each listener in a task of its own until it is stopped; `first_stop` stops those that close first.
fn listen(
    served: Vec<ServedListener>,
    stop: &watch::Receiver<bool>,
    first_stop: &watch::Receiver<bool>,
    supervisor: &Supervisor,
) -> JoinSet<()> {
    let mut listeners = JoinSet::new();
    for ServedListener { id, listener, service, closes_first } in served {
        let stop = if closes_first { first_stop } else { stop };
        let (mut stop, supervisor) = (stop.clone(), supervisor.clone());
        listeners.spawn(async move {
            let unit = format!("listener of {id}");
            let serve = |unit: Unit| async move {
                unit.fault_point();
                // A dropped sender also means that the process is ending.
                let stopped = async { drop(stop.wait_for(|stop| *stop).await) };
                if let Err(cause) = listener.serve(service, stopped).await {
                    tracing::error!(listener = %id, %cause, "a listener cannot serve");
                }
            };
            // The task's result only says that it ended, which the supervisor already knows.
            let _ = supervisor.essential(&unit, serve).await;
        });
    }
    listeners
}

/// Exports spans until it is stopped.
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

/// Waits until the process is asked to end, or cannot continue.
async fn end_is_due(signals: &mut Signals, supervisor: &Supervisor, limit: &Limit) -> Option<Failure> {
    tokio::select! {
        () = signals.termination_requested() => {
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

/// Reports the addresses: on the ready line for a machine, in lines for people, or in the log.
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

/// Prints what the services run, once they know it; and what to open, if that is the app's page.
fn list(process: &Process, is_demo: bool, as_text: bool) -> impl Future<Output = ()> + Send + use<> {
    let handles: Vec<_> = process
        .services
        .iter()
        .map(|service| (Arc::clone(&service.handle), process.ready_line.base(&service.id)))
        .collect();
    let mut open = is_demo.then(|| process.ready_line.gateway_url());
    async move {
        for (handle, base) in handles {
            let Some(mut text) = handle.listing(&base).await else { continue };
            if let Some(url) = open.take() {
                text += &format!("\n  Open {url}\n");
            }
            if as_text {
                ready::print(&text);
                continue;
            }
            // One log record for each line that is not empty.
            for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
                tracing::info!(target: "functions", "{line}");
            }
        }
    }
}

fn exporter(plan: &Plan, process: &Process) -> Option<Exporter> {
    let configured = plan.config.telemetry.otlp_endpoint.as_deref();
    let endpoint =
        configured.or_else(|| plan.environment.get("OTEL_EXPORTER_OTLP_ENDPOINT").map(String::as_str));
    let endpoint = endpoint.filter(|endpoint| !endpoint.is_empty())?;
    Some(Exporter::new(process.resources.tracer.clone(), process.resources.egress.clone(), endpoint))
}
