//! What is at the path of a database: nothing, a file of an older format, or a checked database; and its mark.

use std::fs::File;
use std::io::Read;

use rusqlite::Connection;

use crate::error::OpenDatabaseError;
use crate::files::{mark_path, set_aside, with_ending};
use crate::health::Damage;
use crate::layout::{Layout, LossPolicy};
use crate::mark::{Mark, MarkError};
use crate::page::{FORMAT_AT, RESERVED_AT, RESERVED_BYTES};
use crate::store_id::StoreId;

/// What is at the path of a database.
pub(crate) enum Found {
    Nothing,
    WithoutChecksums,
    Checked,
}

/// Looks at the files of a database. If it is missing or empty and another file shows that it existed, it is not opened: SQLite
/// would remove the other files.
pub(crate) fn find(layout: &Layout<'_>, loss_policy: LossPolicy) -> Result<Found, OpenDatabaseError> {
    let path = layout.path;
    let io = |cause| OpenDatabaseError::Io(path.to_owned(), cause);
    let mut start = [0; 100];
    let filled = match File::open(path) {
        Ok(file) => {
            let mut content = Vec::new();
            file.take(100).read_to_end(&mut content).map_err(io)?;
            start[..content.len()].copy_from_slice(&content);
            Some(content.len())
        }
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => None,
        Err(cause) => return Err(io(cause)),
    };
    let log = with_ending(path, "-wal");
    let has_log = std::fs::metadata(&log).is_ok_and(|file| file.len() > 0);
    let has_mark = mark_path(path).exists();
    if filled.unwrap_or(0) == 0 {
        if !has_log && !has_mark {
            return Ok(Found::Nothing);
        }
        if loss_policy == LossPolicy::Accept {
            set_aside(&[path, &log, &with_ending(path, "-shm"), &mark_path(path)])?;
            return Ok(Found::Nothing);
        }
        return Err(OpenDatabaseError::Missing {
            file: path.to_owned(),
            what: if filled.is_some() { "empty" } else { "missing" },
            witness: if has_log { log } else { mark_path(path) },
            part: layout.part,
        });
    }
    // Format 1 may still be in the log, with 0 in the file. Two fields and the mark distinguish format 1 from later ones, so that
    // no single flipped bit makes one look like the other.
    let format = u32::from_be_bytes([
        start[FORMAT_AT],
        start[FORMAT_AT + 1],
        start[FORMAT_AT + 2],
        start[FORMAT_AT + 3],
    ]);
    let is_old = format <= 1 && start[RESERVED_AT] == 0 && !has_mark;
    if !is_old && format > layout.format && start[RESERVED_AT] != RESERVED_BYTES {
        return Err(OpenDatabaseError::Format { file: path.to_owned(), found: format, known: layout.format });
    }
    Ok(if is_old { Found::WithoutChecksums } else { Found::Checked })
}

pub(crate) fn check_format(connection: &Connection, layout: &Layout<'_>) -> Result<(), OpenDatabaseError> {
    let failed = |cause| OpenDatabaseError::from_sqlite(layout.path, layout.part, cause);
    let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(failed)?;
    if found > layout.format {
        return Err(OpenDatabaseError::Format { file: layout.path.to_owned(), found, known: layout.format });
    }
    Ok(())
}

/// The mark of the database, and the damage if acknowledged commits are missing.
pub(crate) fn mark(
    layout: &Layout<'_>,
    id: StoreId,
    sequence: u64,
    loss_policy: LossPolicy,
) -> Result<(Mark, Option<Damage>), OpenDatabaseError> {
    let path = mark_path(layout.path);
    let mark = match Mark::open(&path) {
        Ok(mark) => mark,
        // Nothing was ever acknowledged, or the operator accepts that this cannot be known.
        Err(MarkError::Missing(_)) if sequence == 0 => return Ok((Mark::create(&path, id, 0)?, None)),
        Err(MarkError::Missing(_) | MarkError::Damaged(_)) if loss_policy == LossPolicy::Accept => {
            return Ok((Mark::create(&path, id, sequence)?, None));
        }
        Err(cause) => {
            return Err(OpenDatabaseError::NoMark { file: layout.path.to_owned(), part: layout.part, cause });
        }
    };
    if mark.store() != id {
        return Err(OpenDatabaseError::AnotherStore { file: layout.path.to_owned(), mark: path });
    }
    if mark.sequence() <= sequence {
        return Ok((mark, None));
    }
    let damage = Damage::LostEnd {
        file: layout.path.to_owned(),
        found: sequence,
        acknowledged: mark.sequence(),
        part: layout.part,
    };
    if loss_policy == LossPolicy::Refuse {
        return Ok((mark, Some(damage)));
    }
    tracing::warn!("accepted: {damage}");
    Ok((Mark::create(&path, id, sequence)?, Some(damage)))
}
