//! Where a timer's runs are remembered.

use std::sync::Arc;

use state::{Durability, Expect, Instance, Key, Registry};

use super::decide::TimerStatus;
use crate::error::chain;
use crate::log::{Level, Logs};

/// The runs of all timers of an app; cheap to clone.
#[derive(Clone)]
pub(crate) struct TimerMemory {
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) instance: Instance,
    pub(crate) logs: Logs,
}

impl TimerMemory {
    /// What is known of a timer; `None` also where it cannot be read, which is logged.
    pub(super) async fn load(&self, function: &str) -> Option<TimerStatus> {
        match self.registry.get(&self.instance, &key(function)).await {
            Ok(entry) => entry.and_then(|entry| TimerStatus::parse(&entry.value)),
            Err(error) => {
                self.warn(function, format!("The timer's last run cannot be read: {}", chain(&error)));
                None
            }
        }
    }

    /// Remembers; where it cannot, the log says so.
    pub(super) async fn store(&self, function: &str, status: &TimerStatus) {
        let value = status.to_json().to_string().into();
        let key = key(function);
        let put = self.registry.put(&self.instance, &key, value, Expect::Anything, Durability::Durable, None);
        if let Err(error) = put.await {
            self.warn(function, format!("The timer's run cannot be remembered: {}", chain(&error)));
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
