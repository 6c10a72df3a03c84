//! [`Events`]: the events of a run, to investigate a failure, and a hash with which two runs are compared.

use std::collections::VecDeque;
use std::fmt;

/// Events that are kept for a failure report.
const KEPT: usize = 60;

/// The events, in order.
#[derive(Debug, Default)]
pub(crate) struct Events {
    last: VecDeque<String>,
    is_shown: bool,
    count: u64,
    sum: u64,
}

impl Events {
    /// Prints each event when it happens, if that is requested.
    pub(crate) fn new(is_shown: bool) -> Self {
        Self { is_shown, ..Self::default() }
    }

    pub(crate) fn add(&mut self, event: fmt::Arguments<'_>) {
        let event = format!("{:5} {event}", self.count);
        // FNV-1a: the same text gives the same number on every machine.
        for byte in event.bytes() {
            self.sum = (self.sum ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        self.count += 1;
        if self.is_shown {
            println!("{event}");
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(event);
    }

    /// Differs if the events do.
    pub(crate) fn sum(&self) -> u64 {
        self.sum
    }

    /// The last events, one per line.
    pub(crate) fn last(&self) -> String {
        self.last.iter().flat_map(|event| [event.as_str(), "\n"]).collect()
    }
}
