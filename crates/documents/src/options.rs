//! [`Options`]: the settings of the document service.

use std::num::NonZeroU64;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Settings of the document service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Folder of the database; created if it is missing. Set by the process. Default: `data/documents`.
    #[serde(skip)]
    pub data_dir: PathBuf,
    /// Whether to open although acknowledged data is lost. Set by the command line. Default: false.
    #[serde(skip)]
    pub accept_loss: bool,
    /// Name of the account, its `id`. Not `localhost`: JavaScript clients then ignore the address list. Default:
    /// `chappe`. Since 0.1.0.
    pub account: String,
    /// Name of the only region. Default: `Local`. Since 0.1.0.
    pub region: String,
    /// Account key, base64. Without a key, requests of other processes are rejected, except if only this machine can connect: then the
    /// emulator's public key is accepted. A secret. Reloads. Default: none. Since 0.1.0.
    pub primary_key: Option<String>,
    /// Second account key, base64, for key rotation. A secret. Reloads. Default: none. Since 0.1.0.
    pub secondary_key: Option<String>,
    /// Whether the emulator's public key is accepted too. The process sets this only for loopback. Default: false.
    #[serde(skip)]
    pub development_key: bool,
    /// Maximum age of the date of a signature, in seconds; then a date more than five minutes ahead is rejected too. Default: 900, as
    /// in Azure, if other machines can connect to the process; otherwise none, so that any valid date is accepted. Since 0.1.0.
    pub signature_age_max_s: Option<NonZeroU64>,
    /// Address in the account document, such as `https://documents.example.com/`. Default: none, which means the address of the
    /// request. Since 0.1.0.
    pub public_url: Option<String>,
    /// Largest size of the database file, in bytes; writes beyond it get 507, as on a full disk. Default: none, which means the size
    /// of the disk. Since 0.1.0.
    pub database_bytes_max: Option<u64>,
    /// Disk space that is reserved for deletes on a full disk, in bytes; 0 reserves none. Default: 8 MiB. Since 0.1.0.
    pub reserve_bytes: u64,
    /// Largest item, in bytes of JSON text. Default: 2 MiB. Since 0.1.0.
    pub item_bytes_max: usize,
    /// Largest request body, in bytes. Default: 4 MiB. Since 0.1.0.
    pub body_bytes_max: usize,
    /// Largest page of a list, query or feed, in bytes; a page has at least one item. Default: 4 MiB. Since 0.1.0.
    pub page_bytes_max: usize,
    /// Items in a page if the client does not request a number. Default: 100. Since 0.1.0.
    pub page_items: usize,
    /// Most items in a page, also if the client requests a dynamic number (-1). Default: 1000. Since 0.1.0.
    pub page_items_max: usize,
    /// Most rows that ORDER BY holds in memory: page size plus OFFSET. Default: 100000. Since 0.1.0.
    pub sort_rows_max: usize,
    /// Longest query text, in bytes. Default: 256 KiB. Since 0.1.0.
    pub query_bytes_max: usize,
    /// Size of the writer's queue, in requests; more get 429. Default: 4096. Since 0.1.0.
    pub write_queue_requests_max: usize,
    /// Size of the writer's queue, in bytes of items; more get 429. Default: 64 MiB. Since 0.1.0.
    pub write_queue_bytes_max: usize,
    /// Most requests in one transaction of the writer. Default: 256. Since 0.1.0.
    pub write_group_requests_max: usize,
    /// Most items that one page of a query or list scans; then the page ends with a continuation token. Default: 500000. Since 0.1.0.
    pub query_rows_max: u64,
    /// Most steps of one page of a query: one for each evaluation of an expression and for each 16 bytes of JSON. Then the page ends
    /// with a continuation token; a single item that needs more gets 400. Default: 50000000. Since 0.1.0.
    pub query_steps_max: u64,
    /// Time after which a page of a query ends with a continuation token, in milliseconds. Default: 5000. Since 0.1.0.
    pub query_ms_max: u64,
    /// Size of each read queue (point reads, feeds, queries), in requests; more get 429. Default: 1024. Since 0.1.0.
    pub read_queue_requests_max: usize,
    /// Threads for queries and lists. Default: 2. Since 0.1.0.
    pub reader_threads: usize,
    /// Threads for reads of single items. Default: 2. Since 0.1.0.
    pub point_reader_threads: usize,
    /// Threads for change feeds. Default: 1. Since 0.1.0.
    pub feed_reader_threads: usize,
    /// Time between two sweeps that remove expired items, in milliseconds. Expired items are never returned. Default: 5000. Since
    /// 0.1.0.
    pub sweep_interval_ms: u64,
    /// Most expired items that one sweep removes; writes wait for a sweep. Default: 1000. Since 0.1.0.
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
    /// Validates what serde cannot.
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
