//! [`Table`]: which servers are compared.

use std::path::Path;

use super::pair::{Server, Setup};
use super::task::{PublishPath, Task};

/// One table of the benchmark.
pub(super) struct Table {
    /// Its name for `--only`.
    pub(super) key: &'static str,
    pub(super) title: String,
    pub(super) note: &'static str,
    /// The first is the baseline.
    pub(super) contenders: Vec<Contender>,
    pub(super) tasks: Vec<Task>,
    pub(super) goals: GoalSet,
}

/// A server that is measured.
#[derive(Clone, Debug)]
pub(super) struct Contender {
    pub(super) name: String,
    pub(super) setup: Setup,
}

/// Which goals a table has.
#[derive(Clone, Copy, Debug)]
pub(super) enum GoalSet {
    None,
    Broadcast,
    Shapes,
    Shards,
    SlowReader,
}

impl Table {
    /// Adds another build's server for each of ours, and leaves out those of other projects.
    pub(super) fn add_beside(&mut self, program: &Path) {
        self.contenders.retain(|contender| !contender.is_foreign());
        let ours = self.contenders.iter().filter(|contender| contender.setup.server == Server::Chappe);
        let other = |contender: &Contender| Contender {
            name: format!("{}, other build", contender.name),
            setup: Setup { program: Some(program.to_owned()), ..contender.setup.clone() },
        };
        let others: Vec<Contender> = ours.map(other).collect();
        self.contenders.extend(others);
    }
}

impl Contender {
    /// Whether it is a peer, which may be left out.
    pub(super) fn is_foreign(&self) -> bool {
        matches!(self.setup.server, Server::Peer(_))
    }

    /// The task in the form that the contender supports: the bare loop publishes in process only.
    pub(super) fn own_task(&self, task: &Task) -> Task {
        let publish_path =
            if self.setup.server == Server::Raw { PublishPath::Direct } else { task.publish_path };
        Task { publish_path, ..*task }
    }
}
