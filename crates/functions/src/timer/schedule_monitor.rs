//! [`ScheduleMonitor`]: stores when timers ran, so that a run missed while the host was down is made up for.

use std::sync::Arc;

use state::{Durability, Expect, Instance, Key, Registry};

use super::schedule_status::ScheduleStatus;
use crate::log::{Level, Logs};

/// Stores the status of all timers of an app. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ScheduleMonitor {
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) instance: Instance,
    pub(crate) logs: Logs,
}

impl ScheduleMonitor {
    /// The stored states of the timers of an app.
    pub(crate) fn new(registry: Arc<dyn Registry>, instance: &Instance, logs: &Logs) -> Self {
        Self { registry, instance: instance.clone(), logs: logs.clone() }
    }

    /// Reads the status of a timer; `None` if it has none. A failed read is logged and also returns `None`.
    pub(super) async fn load(&self, function: &str) -> Option<ScheduleStatus> {
        match self.registry.get(&self.instance, &key(function)).await {
            Ok(entry) => entry.and_then(|entry| ScheduleStatus::parse(&entry.value)),
            Err(error) => {
                self.warn(
                    function,
                    format!(
                        "Cannot read when the timer last ran; a missed run is not made up for: {}",
                        http_messages::error_chain(&error)
                    ),
                );
                None
            }
        }
    }

    /// Stores the status of a timer. A failure is logged.
    pub(super) async fn store(&self, function: &str, status: &ScheduleStatus) {
        let value = status.to_json().to_string().into();
        let key = key(function);
        let put = self.registry.put(&self.instance, &key, value, Expect::Anything, Durability::Durable, None);
        if let Err(error) = put.await {
            self.warn(
                function,
                format!(
                    "Cannot store when the timer ran; after a restart it may run again: {}",
                    http_messages::error_chain(&error)
                ),
            );
        }
    }

    fn warn(&self, function: &str, text: String) {
        self.logs.function(Level::Warn, function, None, text);
    }
}

fn key(function: &str) -> Key {
    Key::new(format!("timers/{}/status", function.to_ascii_lowercase()))
        .expect("a function's name is short and has no control characters")
}
