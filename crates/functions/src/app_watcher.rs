//! [`AppWatcher`]: waits for changes of an app's files.
//!
//! Two things lead to a look at the files: an event of the operating system (crate `notify`) in one of the app's folders, and an interval,
//! for file systems that report nothing. A [`Snapshot`] decides whether something has changed. A change counts when the files have been
//! still for a moment: a checkout or an installation writes many files, and an editor may empty a file before it writes it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::app::{App, Snapshot, WatchRules, WatchScope};
use crate::current::Current;
use crate::options::Options;

/// The most folders whose events are asked for; the others are found by the interval.
const FOLDERS_MAX: usize = 4096;

/// Longest wait for files to be still: some app writes a watched file all the time.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// The share of the time that reading files may take: one part in so many.
const READ_SHARE: u32 = 50;

/// Watches the files of the app.
pub(crate) struct AppWatcher {
    app: Current<App>,
    dir: PathBuf,
    ignored: Vec<PathBuf>,
    /// The interval without events.
    interval: Duration,
    /// How long files must have been still.
    quiet: Duration,
    /// How long the last look took.
    last_read: Duration,
    /// `None` if the operating system reports no events.
    events: Option<FolderEvents>,
}

/// The events of the app's folders.
struct FolderEvents {
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    hint: Arc<Notify>,
}

impl AppWatcher {
    /// A watcher of the app in the folder of `options`. `app`: the app as it was last read, whose language decides which files are
    /// code.
    pub(crate) fn new(options: &Options, app: Current<App>) -> Self {
        Self {
            app,
            dir: options.app_dir.clone(),
            ignored: options.ignored_dirs.clone(),
            interval: Duration::from_millis(options.watch_interval_ms.max(10)),
            quiet: Duration::from_millis(options.hot_reload_quiet_ms.clamp(1, 5_000)),
            last_read: Duration::ZERO,
            events: None,
        }
    }

    /// Asks the operating system for events, from the next snapshot on.
    pub(crate) fn with_events(mut self) -> Self {
        self.events = FolderEvents::new();
        self
    }

    /// The present state of the files.
    pub(crate) async fn snapshot(&mut self) -> Snapshot {
        let (dir, ignored, rules) = (self.dir.clone(), self.ignored.clone(), WatchRules::of(&self.app.get()));
        let started = Instant::now();
        let read = tokio::task::spawn_blocking(move || Snapshot::read(&dir, &ignored, &rules)).await;
        self.last_read = started.elapsed();
        // Fails only if the runtime shuts down.
        let snapshot = read.unwrap_or_default();
        if let Some(events) = &mut self.events {
            events.watch(&snapshot.folders);
        }
        snapshot
    }

    /// Waits until files differ from `before` and no longer change; returns those that have changed. Cancel-safe.
    pub(crate) async fn changed(&mut self, before: &Snapshot, scope: WatchScope) -> Vec<PathBuf> {
        loop {
            let mut seen = self.snapshot().await;
            if before.changes(&seen, scope).is_empty() {
                self.hint().await;
                continue;
            }
            let deadline = Instant::now() + SETTLE_MAX;
            loop {
                sleep(self.quiet).await;
                let later = self.snapshot().await;
                let is_still = seen.changes(&later, scope).is_empty();
                seen = later;
                if is_still || Instant::now() >= deadline {
                    break;
                }
            }
            // Empty if the files are as they were.
            let changes = before.changes(&seen, scope);
            if !changes.is_empty() {
                return changes;
            }
        }
    }

    /// Waits for a reason to look at the files.
    async fn hint(&self) {
        let interval = self.interval.max(self.last_read * READ_SHARE);
        match &self.events {
            // A timeout is the interval.
            Some(events) => drop(timeout(interval, events.hint.notified()).await),
            None => sleep(interval).await,
        }
    }
}

impl FolderEvents {
    fn new() -> Option<Self> {
        let hint = Arc::new(Notify::new());
        let notified = Arc::clone(&hint);
        let on_event = move |event: notify::Result<Event>| {
            // An error means that events may be missing.
            if event.is_err() || event.is_ok_and(|event| is_change(event.kind)) {
                notified.notify_one();
            }
        };
        match notify::recommended_watcher(on_event) {
            Ok(watcher) => Some(Self { watcher, watched: BTreeSet::new(), hint }),
            Err(error) => {
                tracing::debug!(%error, "the operating system gives no events of files; they are read at an interval");
                None
            }
        }
    }

    /// Subscribes to the events of these folders, and unsubscribes from those of others.
    fn watch(&mut self, folders: &[PathBuf]) {
        let wanted: BTreeSet<PathBuf> = folders.iter().take(FOLDERS_MAX).cloned().collect();
        if wanted == self.watched {
            return;
        }
        let mut paths = self.watcher.paths_mut();
        for gone in self.watched.difference(&wanted) {
            // The operating system has forgotten a folder that was removed.
            let _ = paths.remove(gone);
        }
        for new in wanted.difference(&self.watched) {
            if let Err(error) = paths.add(new, RecursiveMode::NonRecursive) {
                tracing::debug!(%error, folder = %new.display(), "no events of a folder; it is read at an interval");
            }
        }
        if let Err(error) = paths.commit() {
            tracing::debug!(%error, "no events of some folders; they are read at an interval");
        }
        self.watched = wanted;
    }
}

/// Whether an event may mean that a file has changed; reading files causes events too.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}
