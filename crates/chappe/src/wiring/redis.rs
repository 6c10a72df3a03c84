//! The connector for `redisPubSubTrigger`, `redisListTrigger`, `redisStreamTrigger` and `redis`: the bindings of Redis.
//!
//! It always connects to a server: this process has none.

use std::io;
use std::path::Path;
use std::sync::Arc;

use connect_redis::Redis;

use super::row::{ConnectorRow, Creating};
use crate::config::{ConnectorSection, SectionOptions};

pub(super) static ROW: ConnectorRow = ConnectorRow {
    section: ConnectorSection::of::<connect_redis::Options>("redis"),
    create: |creating| Arc::new(create(&creating)),
};

impl SectionOptions for connect_redis::Options {}

fn create(creating: &Creating<'_>) -> Redis {
    let mut options: connect_redis::Options = creating.options();
    match host_id(creating.data_dir) {
        Ok(id) => options.instance = format!("chappe-{id}"),
        // The name stays random: entries that a killed process did not finish are delivered again after their lock expires, not
        // immediately.
        Err(error) => tracing::warn!(%error, "the file host-id of the data folder cannot be used"),
    }
    Redis::new(options)
}

/// A name of this host that survives restarts. The path of the data folder is no such name: containers on several machines have the
/// same path.
fn host_id(data_dir: &Path) -> io::Result<String> {
    let path = data_dir.join("host-id");
    match std::fs::read_to_string(&path) {
        Ok(text) if uuid::Uuid::parse_str(text.trim()).is_ok() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let id = uuid::Uuid::new_v4().to_string();
    std::fs::write(&path, &id)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_id_is_generated_once_and_again_if_its_file_is_damaged() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = host_id(folder.path()).expect("the folder is writable");
        assert_eq!(host_id(folder.path()).expect("the file is there"), first);
        std::fs::write(folder.path().join("host-id"), "").expect("writable");
        assert_ne!(host_id(folder.path()).expect("made again"), first);
        assert!(host_id(&folder.path().join("nowhere")).is_err());
    }
}
