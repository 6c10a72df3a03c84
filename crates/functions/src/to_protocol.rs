//! Values of triggers and bindings as data for workers.

use std::collections::BTreeMap;

use bytes::Bytes;
use bytestring::ByteString;
use serde_json::{Map, Value as Json};
use worker_protocol::{DataType, ModelBindingData, TypedData};

use functions_contract::{DeferredValue, Value};

/// A value for a binding. `data_type` is the one that the function declares; several values become a collection.
pub(crate) fn typed_data(value: Value, data_type: DataType) -> TypedData {
    let binary = matches!(data_type, DataType::Binary | DataType::Stream);
    match value {
        Value::Null => TypedData::Null,
        Value::Text(text) if binary => TypedData::Bytes(text.into_bytes()),
        Value::Text(text) => TypedData::String(text),
        Value::Json(json) if binary => TypedData::Bytes(json.into_bytes()),
        Value::Json(json) => TypedData::Json(json),
        Value::Bytes(bytes) if data_type == DataType::String => TypedData::String(lossy_text(bytes)),
        Value::Bytes(bytes) => TypedData::Bytes(bytes),
        Value::Integer(number) => TypedData::Int(number),
        Value::Double(number) => TypedData::Double(number),
        Value::Many(items) => many(items, binary),
        Value::Deferred(reference) => TypedData::ModelBindingData(Box::new(model(*reference))),
    }
}

fn model(reference: DeferredValue) -> ModelBindingData {
    let DeferredValue { version, source, content_type, content } = reference;
    ModelBindingData { version, source, content_type, content }
}

fn many(items: Vec<Value>, binary: bool) -> TypedData {
    if !items.is_empty() && items.iter().all(|item| matches!(item, Value::Deferred(_))) {
        let references = items.into_iter().filter_map(|item| match item {
            Value::Deferred(reference) => Some(model(*reference)),
            _ => None,
        });
        return TypedData::CollectionModelBindingData(references.collect());
    }
    let all_bytes = items.iter().all(|item| matches!(item, Value::Bytes(_)));
    if !items.is_empty() && (all_bytes || binary) {
        let bytes = items.into_iter().map(|item| match item {
            Value::Bytes(bytes) => bytes,
            other => text_of(other).into_bytes(),
        });
        return TypedData::CollectionBytes(bytes.collect());
    }
    TypedData::CollectionString(items.into_iter().map(text_of).collect())
}

/// Trigger metadata: text as text, other values as JSON; even a list of whole numbers, because Node.js shows the collection
/// form as `{low, high, unsigned}` objects.
pub(crate) fn trigger_metadata(values: &[(String, Value)]) -> BTreeMap<String, TypedData> {
    values.iter().map(|(name, value)| (name.clone(), metadata_value(value))).collect()
}

fn metadata_value(value: &Value) -> TypedData {
    match value {
        Value::Null => TypedData::Null,
        Value::Text(text) => TypedData::String(text.clone()),
        Value::Bytes(bytes) => TypedData::Bytes(bytes.clone()),
        Value::Deferred(reference) => TypedData::ModelBindingData(Box::new(model((**reference).clone()))),
        other => TypedData::Json(json_of(other).to_string().into()),
    }
}

/// A value as JSON, for binding data.
pub(crate) fn json_of(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Text(text) => Json::String(text.to_string()),
        Value::Json(json) => serde_json::from_str(json).unwrap_or_else(|_| Json::String(json.to_string())),
        Value::Bytes(bytes) => Json::String(String::from_utf8_lossy(bytes).into_owned()),
        Value::Integer(number) => Json::from(*number),
        Value::Double(number) => Json::from(*number),
        Value::Many(items) => Json::Array(items.iter().map(json_of).collect()),
        // The properties of a reference are not data of the function.
        Value::Deferred(_) => Json::Null,
    }
}

/// The binding data of a trigger: its metadata, and the top-level properties of a JSON payload. Metadata takes precedence.
pub(crate) fn binding_data(data: &Value, metadata: &[(String, Value)]) -> Map<String, Json> {
    let mut all = match data {
        Value::Json(text) | Value::Text(text) if text.trim_start().starts_with('{') => {
            serde_json::from_str::<Map<String, Json>>(text).unwrap_or_default()
        }
        _ => Map::new(),
    };
    for (name, value) in metadata {
        all.insert(name.clone(), json_of(value));
    }
    all
}

/// A value as JSON text.
pub(crate) fn json_text(value: Value) -> ByteString {
    match value {
        Value::Json(json) => json,
        other => json_of(&other).to_string().into(),
    }
}

/// Bytes as text, without a copy if they are UTF-8.
fn lossy_text(bytes: Bytes) -> ByteString {
    ByteString::try_from(bytes.clone())
        .unwrap_or_else(|_| ByteString::from(String::from_utf8_lossy(&bytes).into_owned()))
}

fn text_of(value: Value) -> ByteString {
    match value {
        Value::Null => ByteString::new(),
        Value::Text(text) | Value::Json(text) => text,
        Value::Bytes(bytes) => lossy_text(bytes),
        Value::Integer(number) => number.to_string().into(),
        Value::Double(number) => number.to_string().into(),
        many @ Value::Many(_) => json_of(&many).to_string().into(),
        Value::Deferred(reference) => lossy_text(reference.content),
    }
}
