//! Files that show damage: SQLite databases with a checksum in each page, and the mark of what was acknowledged.
//!
//! A bit that flipped, a page in the wrong place, a file that was cut: SQLite does not notice most of that. A damaged end of the
//! write-ahead log it takes for a transaction that never ended, and drops it. Here, a page that is not as it was written is never
//! read ([`Database`]), and a file that holds less than was acknowledged is not written any more ([`Mark`], [`Health`]).
//! `docs/decisions/0007-damage.md` has the reasons. Not its concern: what the tables mean, and who waits for a write.
//!
//! Know these first: [`Layout`] (what a store expects of its file), [`Database`] (the open file), [`Health`] (whether it may be
//! written). Start reading at `database.rs`, then `vfs.rs`.

mod database;
mod error;
mod health;
mod mark;
mod page;
mod vfs;

pub use database::{AtLoss, Database, Layout, StoreId, backup, open_reader, verify};
pub use error::OpenError;
pub use health::{Damage, Health, is_damage};
pub use mark::{Mark, MarkError};
