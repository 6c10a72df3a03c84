//! [`Options`]: what can be set.

use std::num::NonZeroU64;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Settings of the document service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Folder that holds the database; made if it is missing. Set by the program around. Default: `data/documents`.
    #[serde(skip)]
    pub data_dir: PathBuf,
    /// Whether to go on where acknowledged data is known to be lost. Set by the program around. Default: false.
    #[serde(skip)]
    pub accept_loss: bool,
    /// Name of the account, its `id`. Not `localhost`: JavaScript clients then ignore the address list. Default:
    /// `chappe`. Since 0.1.0.
    pub account: String,
    /// Name of the only region. Default: `Local`. Since 0.1.0.
    pub region: String,
    /// Account key, base64. Without any key every request from outside is refused, unless only this machine can connect: then
    /// the key that the public emulator documents is accepted. Default: none. Since 0.1.0.
    pub primary_key: Option<String>,
    /// Second account key, base64, so that keys can be changed without a gap. Default: none. Since 0.1.0.
    pub secondary_key: Option<String>,
    /// Whether the key that the public emulator documents is accepted too. Everybody knows it: the program around sets this for
    /// loopback only. Default: false.
    #[serde(skip)]
    pub development_key: bool,
    /// How old the date of a signature may be, in seconds; one that is more than five minutes ahead is then refused too. Default:
    /// 900, as the public service, where other machines can connect to the process; otherwise none, so that any date is
    /// accepted that can be read. Since 0.1.0.
    pub signature_age_max_s: Option<NonZeroU64>,
    /// Address to hand out in the account document, such as `https://documents.example.com/`. Default: none, which
    /// hands out the address that the request came to. Since 0.1.0.
    pub public_url: Option<String>,
    /// Largest size of the database file, in bytes; writes beyond it are answered 507, as on a full disk. Default: none,
    /// which leaves the limit to the disk. Since 0.1.0.
    pub database_bytes_max: Option<u64>,
    /// Room on the disk that is kept so that deleting works when the disk is full, in bytes; 0 keeps none. Default: 8 MiB.
    /// Since 0.1.0.
    pub reserve_bytes: u64,
    /// Largest item, in bytes of JSON text. Default: 2 MiB. Since 0.1.0.
    pub item_bytes_max: usize,
    /// Largest request body, in bytes. Default: 4 MiB. Since 0.1.0.
    pub body_bytes_max: usize,
    /// Largest page of a list, query or feed, in bytes; a page always takes at least one item. Default: 4 MiB.
    /// Since 0.1.0.
    pub page_bytes_max: usize,
    /// Items in a page where the client does not say. Default: 100. Since 0.1.0.
    pub page_items: usize,
    /// Items in a page at most, also where the client leaves it to us (-1). Default: 1000. Since 0.1.0.
    pub page_items_max: usize,
    /// Rows that ORDER BY may hold at once: page size plus OFFSET. Default: 100000. Since 0.1.0.
    pub sort_rows_max: usize,
    /// Longest query text, in bytes. Default: 256 KiB. Since 0.1.0.
    pub query_bytes_max: usize,
    /// Requests that may wait for the writer; more are answered 429. Default: 4096. Since 0.1.0.
    pub write_queue_requests_max: usize,
    /// Bytes of items that may wait for the writer; more are answered 429. Default: 64 MiB. Since 0.1.0.
    pub write_queue_bytes_max: usize,
    /// Requests that the writer puts into one transaction at most. Default: 256. Since 0.1.0.
    pub write_group_requests_max: usize,
    /// Items that one page of a query or list looks at; a page that comes to more ends with a continuation. Default: 500000.
    /// Since 0.1.0.
    pub query_rows_max: u64,
    /// Steps that one page of a query may take: one for each evaluation of an expression and for 16 bytes of JSON. A page that
    /// takes more ends with a continuation; an item that takes more on its own is refused with 400. Default: 50000000.
    /// Since 0.1.0.
    pub query_steps_max: u64,
    /// Time after which a page of a query ends with a continuation, in milliseconds. Default: 5000. Since 0.1.0.
    pub query_ms_max: u64,
    /// Requests that may wait for a reader, for point reads, feeds and queries each; more are answered 429. Default: 1024.
    /// Since 0.1.0.
    pub read_queue_requests_max: usize,
    /// Threads for queries and lists. Default: 2. Since 0.1.0.
    pub reader_threads: usize,
    /// Threads for reads of single items, which never wait for queries. Default: 2. Since 0.1.0.
    pub point_reader_threads: usize,
    /// Threads for change feeds, which never wait for queries. Default: 1. Since 0.1.0.
    pub feed_reader_threads: usize,
    /// Time between two sweeps of expired items, in milliseconds. Expired items are invisible at once in any case.
    /// Default: 5000. Since 0.1.0.
    pub sweep_interval_ms: u64,
    /// Expired items that one sweep removes at most, so that writes are not kept waiting. Default: 1000. Since 0.1.0.
    pub sweep_items_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            data_dir: PathBuf::from("data/documents"),
            accept_loss: false,
            account: "chappe".to_owned(),
            region: "Local".to_owned(),
            primary_key: None,
            secondary_key: None,
            development_key: false,
            signature_age_max_s: None,
            public_url: None,
            database_bytes_max: None,
            reserve_bytes: 8 << 20,
            item_bytes_max: 2 * MIB,
            body_bytes_max: 4 * MIB,
            page_bytes_max: 4 * MIB,
            page_items: 100,
            page_items_max: 1000,
            sort_rows_max: 100_000,
            query_bytes_max: 256 * 1024,
            write_queue_requests_max: 4096,
            write_queue_bytes_max: 64 * MIB,
            write_group_requests_max: 256,
            read_queue_requests_max: 1024,
            query_rows_max: 500_000,
            query_steps_max: 50_000_000,
            query_ms_max: 5000,
            reader_threads: 2,
            point_reader_threads: 2,
            feed_reader_threads: 1,
            sweep_interval_ms: 5000,
            sweep_items_max: 1000,
        }
    }
}

impl Options {
    /// Checks what serde cannot.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let counts = [
            ("item_bytes_max", self.item_bytes_max),
            ("body_bytes_max", self.body_bytes_max),
            ("page_bytes_max", self.page_bytes_max),
            ("page_items", self.page_items),
            ("page_items_max", self.page_items_max),
            ("sort_rows_max", self.sort_rows_max),
            ("write_queue_requests_max", self.write_queue_requests_max),
            ("write_queue_bytes_max", self.write_queue_bytes_max),
            ("write_group_requests_max", self.write_group_requests_max),
            ("read_queue_requests_max", self.read_queue_requests_max),
            ("reader_threads", self.reader_threads),
            ("point_reader_threads", self.point_reader_threads),
            ("feed_reader_threads", self.feed_reader_threads),
        ];
        for (name, value) in counts {
            if value == 0 {
                return Err(Error::Option { name, why: "must be at least 1".to_owned() });
            }
        }
        let budgets = [
            ("query_rows_max", self.query_rows_max),
            ("query_steps_max", self.query_steps_max),
            ("query_ms_max", self.query_ms_max),
        ];
        for (name, value) in budgets {
            if value == 0 {
                return Err(Error::Option { name, why: "must be at least 1".to_owned() });
            }
        }
        if self.account.is_empty() || self.account == "localhost" {
            let why = "must be a name other than localhost, which some clients treat as no account at all";
            return Err(Error::Option { name: "account", why: why.to_owned() });
        }
        if self.sweep_interval_ms == 0 || self.sweep_items_max == 0 {
            return Err(Error::Option {
                name: "sweep_interval_ms",
                why: "sweep settings must be at least 1".to_owned(),
            });
        }
        if self.write_queue_bytes_max < self.body_bytes_max {
            let why = format!("must be at least body_bytes_max ({})", self.body_bytes_max);
            return Err(Error::Option { name: "write_queue_bytes_max", why });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_set_by_the_process_are_not_configuration_keys() {
        for key in ["data_dir", "development_key"] {
            let text = format!(r#"{{"{key}": null}}"#);
            let error = serde_json::from_str::<Options>(&text).expect_err("not a key").to_string();
            assert!(error.contains(&format!("unknown field `{key}`")), "{error}");
        }
        let options: Options = serde_json::from_str(r#"{"page_items": 5}"#).expect("keys");
        assert_eq!(options, Options { page_items: 5, ..Options::default() });
    }
}
