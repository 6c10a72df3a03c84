//! [`Events`]: what happened in a run, for whoever looks into a failure, and a number by which two runs are compared.

use std::collections::VecDeque;
use std::fmt;

/// Events that are kept for a failure.
const KEPT: usize = 60;

/// What happened, in order.
#[derive(Debug, Default)]
pub(crate) struct Events {
    last: VecDeque<String>,
    is_shown: bool,
    count: u64,
    sum: u64,
}

impl Events {
    /// Shows each event when it happens where that is asked for.
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

    /// Differs where the events do.
    pub(crate) fn sum(&self) -> u64 {
        self.sum
    }

    /// The last events, one a line.
    pub(crate) fn last(&self) -> String {
        self.last.iter().flat_map(|event| [event.as_str(), "\n"]).collect()
    }
}
