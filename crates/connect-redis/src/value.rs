//! Values of Redis as values of bindings.

use bytes::Bytes;
use bytestring::ByteString;
use functions_contract::Value;

/// Bytes of Redis: text if they are UTF-8.
pub(crate) fn text_or_bytes(bytes: Vec<u8>) -> Value {
    let bytes = Bytes::from(bytes);
    match ByteString::try_from(bytes.clone()) {
        Ok(text) => Value::Text(text),
        Err(_) => Value::Bytes(bytes),
    }
}

/// Bytes of Redis as text: parts that are not UTF-8 are replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
