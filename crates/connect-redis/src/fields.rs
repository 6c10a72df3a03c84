//! Entries of a stream as Redis sends them, and as functions get them.

use functions_contract::Value;
use redis::Value as Reply;

use crate::value::text;

/// An entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamEntry {
    pub(crate) id: String,
    /// Fields in their order.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) delivery_count: u32,
}

impl StreamEntry {
    /// `{"Id": …, "Values": {…}}`, as the Azure Functions extension writes it.
    pub(crate) fn json(&self) -> String {
        format!("{{\"Id\":{},\"Values\":{}}}", json_text(&self.id), self.values())
    }

    /// The fields as a JSON object.
    pub(crate) fn values(&self) -> String {
        let fields: Vec<String> = self
            .fields
            .iter()
            .enumerate()
            // As in any JSON reader, the last field of a name wins.
            .filter(|(index, (name, _))| !self.fields[index + 1..].iter().any(|(other, _)| other == name))
            .map(|(_, (name, value))| format!("{}:{}", json_text(name), json_text(value)))
            .collect();
        format!("{{{}}}", fields.join(","))
    }

    /// The milliseconds of the server's clock in the id; `None` for ids that the writer chose without them.
    pub(crate) fn milliseconds(id: &str) -> Option<u64> {
        id.split_once('-').and_then(|(time, _)| time.parse().ok())
    }
}

/// The entries of the first stream in the reply to XREADGROUP, which were delivered for the first time.
pub(crate) fn read_entries(reply: Reply) -> Option<Vec<StreamEntry>> {
    match reply {
        Reply::Nil => Some(Vec::new()),
        Reply::Array(streams) => {
            let Some(Reply::Array(mut stream)) = streams.into_iter().next() else { return Some(Vec::new()) };
            let Some(Reply::Array(rows)) = stream.pop() else { return None };
            rows.into_iter().map(|row| entry(row, Some(1))).collect()
        }
        _ => None,
    }
}

/// Rows of id, fields and delivery count, as the scripts return them.
pub(crate) fn claimed_entries(reply: Reply) -> Option<Vec<StreamEntry>> {
    let Reply::Array(rows) = reply else { return None };
    rows.into_iter().map(|row| entry(row, None)).collect()
}

/// An entry; without `count`, the row contains it.
fn entry(row: Reply, count: Option<u32>) -> Option<StreamEntry> {
    let Reply::Array(row) = row else { return None };
    let mut columns = row.into_iter();
    let id = bytes(columns.next()?)?;
    let fields = match columns.next()? {
        Reply::Array(fields) => fields,
        // The entry was deleted after it was delivered.
        Reply::Nil => Vec::new(),
        _ => return None,
    };
    let delivery_count = match (count, columns.next()) {
        (Some(count), _) => count,
        (None, Some(Reply::Int(count))) => u32::try_from(count).unwrap_or(u32::MAX),
        (None, _) => return None,
    };
    let mut texts = fields.into_iter().map(|field| bytes(field).map(|bytes| text(&bytes)));
    let mut fields = Vec::new();
    while let Some(name) = texts.next() {
        fields.push((name?, texts.next()??));
    }
    Some(StreamEntry { id: text(&id), fields, delivery_count })
}

fn bytes(reply: Reply) -> Option<Vec<u8>> {
    match reply {
        Reply::BulkString(bytes) => Some(bytes),
        Reply::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}

/// A text as a JSON string.
pub(crate) fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Entries for a function: one as its JSON, several as one value each.
pub(crate) fn entries_value(entries: &[StreamEntry], is_batched: bool) -> Value {
    let value = |entry: &StreamEntry| Value::Text(entry.json().into());
    match entries {
        [entry] if !is_batched => value(entry),
        entries => Value::Many(entries.iter().map(value).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Reply {
        Reply::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn an_entry_has_the_form_of_the_azure_functions_extension() {
        let fields = Reply::Array(["b", "1", "a", "x\"y", "b", "2"].map(bulk).to_vec());
        let row = Reply::Array(vec![bulk("5-0"), fields]);
        let stream = Reply::Array(vec![bulk("key"), Reply::Array(vec![row])]);
        let entries = read_entries(Reply::Array(vec![stream])).expect("well-formed");
        assert_eq!(entries[0].json(), r#"{"Id":"5-0","Values":{"a":"x\"y","b":"2"}}"#);
        assert_eq!(entries[0].delivery_count, 1);
        assert_eq!(StreamEntry::milliseconds("5-0"), Some(5));
    }

    #[test]
    fn a_claimed_entry_has_the_count_of_its_deliveries() {
        let row = Reply::Array(vec![bulk("5-0"), Reply::Array(vec![bulk("a"), bulk("1")]), Reply::Int(3)]);
        let entries = claimed_entries(Reply::Array(vec![row])).expect("well-formed");
        assert_eq!((entries[0].delivery_count, entries[0].fields.len()), (3, 1));
        assert_eq!(claimed_entries(Reply::Int(1)), None);
    }

    #[test]
    fn an_empty_reply_has_no_entries() {
        assert_eq!(read_entries(Reply::Nil), Some(Vec::new()));
    }
}
