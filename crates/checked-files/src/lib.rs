//! Files in which damage is detected: SQLite databases with a checksum in each page, and a mark, the last acknowledged position.
//!
//! SQLite does not notice most flipped bits, misplaced pages and truncated files. It treats a damaged end of the write-ahead log as
//! an unfinished transaction and drops it. Here, a damaged page is never read ([`CheckedDatabase`]), and a file that lacks acknowledged
//! commits is no longer written ([`Mark`], [`Health`]). `docs/decisions/0007-damage.md` gives the reasons. Not its concern: what
//! the tables mean, and who waits for a write.
//!
//! Know these first: [`Layout`] (what a store expects of its file), [`CheckedDatabase`] (the open file), [`Health`] (whether it may be
//! written). Start reading at `database.rs`, then `vfs.rs`.

mod backup;
mod connection;
mod create;
mod database;
mod error;
mod files;
mod find;
mod folder;
mod health;
mod layout;
mod mark;
mod page;
mod store_id;
mod verify;
mod vfs;

pub use backup::backup;
pub use connection::open_reader;
pub use database::CheckedDatabase;
pub use error::OpenDatabaseError;
pub use health::{Damage, Health, is_damage};
pub use layout::{Layout, LossPolicy};
pub use mark::{Mark, MarkError};
pub use store_id::StoreId;
pub use verify::verify;
