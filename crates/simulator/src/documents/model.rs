//! The required state of items and the change feed: a model of each item, and what a reader of the feed has seen. Pure.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::process::{Reply, item_of, value_of};
use super::verb::Verb;

/// One item.
#[derive(Clone, Debug, Default)]
struct Item {
    /// Its value, if it exists.
    now: Option<u64>,
    /// The values that interrupted or failed writes may have left, until the next start shows the actual one.
    maybe: Vec<Option<u64>>,
}

/// All items.
#[derive(Debug)]
pub(super) struct Items(Vec<Item>);

impl Items {
    pub(super) fn new(count: usize) -> Self {
        Self(vec![Item::default(); count])
    }

    /// A request got a response with a status below 500.
    pub(super) fn completed(
        &mut self,
        verb: Verb,
        number: usize,
        value: u64,
        status: u16,
        read: Option<u64>,
    ) -> Result<()> {
        let item = &mut self.0[number];
        let expected = match (verb, item.now.is_some()) {
            (Verb::Create | Verb::Upsert, false) => 201,
            (Verb::Create, true) => 409,
            (Verb::Upsert | Verb::Replace | Verb::Read, true) => 200,
            (Verb::Delete, true) => 204,
            (Verb::Replace | Verb::Delete | Verb::Read, false) => 404,
        };
        ensure!(status == expected, "the status is {status}; item {number} is {:?}", item.now);
        match verb {
            Verb::Read => {
                ensure!(read == item.now, "item {number} is read as {read:?}, and is {:?}", item.now);
            }
            Verb::Delete => item.now = None,
            _ if status < 300 => item.now = Some(value),
            _ => {}
        }
        if verb != Verb::Read && status < 300 {
            item.maybe.clear();
        }
        Ok(())
    }

    /// A request got a response with an error of the service: nothing is stored, but the next start may find it.
    pub(super) fn failed(&mut self, verb: Verb, number: usize, value: u64) {
        self.interrupted(verb, number, value);
    }

    /// A request was pending when its process ended.
    pub(super) fn interrupted(&mut self, verb: Verb, number: usize, value: u64) {
        let item = &mut self.0[number];
        match verb {
            Verb::Read => {}
            Verb::Delete => item.maybe.push(None),
            Verb::Create | Verb::Upsert | Verb::Replace => item.maybe.push(Some(value)),
        }
    }

    /// After a start: the value that was read.
    pub(super) fn audit(&mut self, number: usize, found: Option<u64>, is_lost: bool) -> Result<()> {
        let item = &mut self.0[number];
        ensure!(
            is_lost || found == item.now || item.maybe.contains(&found),
            "item {number} is {found:?} after the start; it was {:?}, and {:?} may have been written",
            item.now,
            item.maybe
        );
        *item = Item { now: found, maybe: Vec::new() };
        Ok(())
    }

    fn values(&self) -> BTreeMap<usize, u64> {
        self.0.iter().enumerate().filter_map(|(number, item)| Some((number, item.now?))).collect()
    }

    /// The list of all items.
    pub(super) fn check_list(&self, what: &str, reply: &Reply) -> Result<()> {
        ensure!(reply.status == 200, "{what} cannot be read: {reply:?}");
        let mut listed = BTreeMap::new();
        for row in reply.rows() {
            let (number, value) = read_row(row)?;
            ensure!(listed.insert(number, value).is_none(), "{what} has item {number} twice");
        }
        ensure!(listed == self.values(), "{what} has {listed:?}, and the items are {:?}", self.values());
        Ok(())
    }

    /// What a reader of the whole feed has seen after a start: each item once, in its current version.
    pub(super) fn check_feed(&self, reader: &Follower) -> Result<()> {
        ensure!(
            reader.seen == self.values() && reader.rows == reader.seen.len() as u64,
            "the change feed has {:?} in {} rows, and the items are {:?}",
            reader.seen,
            reader.rows,
            self.values()
        );
        Ok(())
    }

    /// What a reader that followed the feed all the time has seen: everything except deletes.
    pub(super) fn check_follower(&self, follower: &Follower) -> Result<()> {
        for (number, value) in self.values() {
            ensure!(
                follower.seen.get(&number) == Some(&value),
                "item {number} is {value}, and the follower of the change feed last saw {:?}",
                follower.seen.get(&number)
            );
        }
        Ok(())
    }
}

/// A reader of the change feed.
#[derive(Debug, Default)]
pub(super) struct Follower {
    etag: Option<String>,
    lsn: u64,
    seen: BTreeMap<usize, u64>,
    rows: u64,
}

impl Follower {
    pub(super) fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// Reads a page.
    pub(super) fn read(&mut self, page: &Reply) -> Result<()> {
        for row in page.rows() {
            let lsn = row["_lsn"].as_u64().context("a row has an LSN")?;
            ensure!(lsn > self.lsn, "LSN {lsn} comes after {}", self.lsn);
            self.lsn = lsn;
            let (number, value) = read_row(row)?;
            self.seen.insert(number, value);
            self.rows += 1;
        }
        self.etag = page.etag.clone();
        Ok(())
    }
}

/// The number and the value of an item, which contains its value twice.
fn read_row(row: &Value) -> Result<(usize, u64)> {
    let number = item_of(row).context("an item has a number")?;
    let Some(value) = value_of(row) else { bail!("item {number} is torn: {row}") };
    Ok((number, value))
}
