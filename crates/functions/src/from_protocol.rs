//! Data of workers as values for output bindings.

use bytestring::ByteString;
use serde_json::value::RawValue;
use worker_protocol::{ModelBindingData, TypedData};

use functions_contract::{DeferredValue, Value};

/// The items that an output binding has to write: a JSON array, or text that contains one, becomes several items; bytes become one;
/// an empty value becomes no item.
pub(crate) fn items(data: TypedData) -> Vec<Value> {
    match data {
        // Workers send nothing that is stored.
        TypedData::Null | TypedData::Stored(_) => Vec::new(),
        TypedData::Json(json) => match split_array(&json) {
            Some(items) => items,
            None if json.trim() == "null" => Vec::new(),
            None => vec![Value::Json(json)],
        },
        TypedData::String(text) => split_array(&text).unwrap_or_else(|| vec![Value::Text(text)]),
        TypedData::Bytes(bytes) | TypedData::Stream(bytes) => vec![Value::Bytes(bytes)],
        TypedData::Int(number) => vec![Value::Integer(number)],
        TypedData::Double(number) => vec![Value::Double(number)],
        TypedData::CollectionBytes(items) => items.into_iter().map(Value::Bytes).collect(),
        TypedData::CollectionString(items) => items.into_iter().map(Value::Text).collect(),
        TypedData::CollectionDouble(items) => items.into_iter().map(Value::Double).collect(),
        TypedData::CollectionSint64(items) => items.into_iter().map(Value::Integer).collect(),
        // A response is what HTTP outputs take; any other output gets its body.
        TypedData::Http(http) => items_of_body(http.body),
        TypedData::ModelBindingData(data) => vec![deferred(*data)],
        TypedData::CollectionModelBindingData(items) => items.into_iter().map(deferred).collect(),
    }
}

/// The value that a function returned, in one piece.
pub(crate) fn value(data: TypedData) -> Value {
    match data {
        TypedData::Null | TypedData::Stored(_) => Value::Null,
        TypedData::String(text) => Value::Text(text),
        TypedData::Json(json) => Value::Json(json),
        TypedData::Http(http) => match http.body {
            TypedData::Http(_) => Value::Null,
            body => value(body),
        },
        TypedData::Bytes(bytes) | TypedData::Stream(bytes) => Value::Bytes(bytes),
        TypedData::Int(number) => Value::Integer(number),
        TypedData::Double(number) => Value::Double(number),
        TypedData::ModelBindingData(data) => deferred(*data),
        several => Value::Many(items(several)),
    }
}

fn deferred(data: ModelBindingData) -> Value {
    let ModelBindingData { version, source, content_type, content } = data;
    Value::Deferred(Box::new(DeferredValue { version, source, content_type, content }))
}

fn items_of_body(body: TypedData) -> Vec<Value> {
    match body {
        TypedData::Http(_) => Vec::new(),
        other => items(other),
    }
}

/// Splits the text of a JSON array into slices of it. The elements are not parsed, so that numbers and key order stay as written.
fn split_array(text: &ByteString) -> Option<Vec<Value>> {
    if !text.trim_start().starts_with('[') {
        return None;
    }
    let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    let items = elements.into_iter().filter(|element| element.get() != "null");
    let item = |element: &RawValue| match serde_json::from_str::<String>(element.get()) {
        Ok(text) => Value::Text(text.into()),
        Err(_) => Value::Json(text.slice_ref(element.get())),
    };
    Some(items.map(item).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_of_a_worker_stays_a_reference() {
        let model = ModelBindingData {
            version: "1.0".to_owned(),
            source: "CosmosDB".to_owned(),
            content_type: "application/json".to_owned(),
            content: "{}".into(),
        };
        let reference = deferred(model.clone());
        let data = TypedData::ModelBindingData(Box::new(model.clone()));
        assert_eq!(items(data.clone()), vec![reference.clone()]);
        assert_eq!(value(data.clone()), reference);
        let typed = |value| crate::to_protocol::typed_data(value, worker_protocol::DataType::String);
        assert_eq!(typed(reference.clone()), data);
        let several = TypedData::CollectionModelBindingData(vec![model.clone(), model]);
        assert_eq!(items(several.clone()), [reference.clone(), reference.clone()]);
        assert_eq!(typed(Value::Many(vec![reference.clone(), reference])), several);
    }

    #[test]
    fn arrays_are_several_items_and_keep_their_text() {
        let split = |text: &str| items(TypedData::Json(text.into()));
        assert_eq!(
            split(r#"[{"b":1,"a":12345678901234567890.5}, "x", null, 3]"#),
            [
                Value::Json(r#"{"b":1,"a":12345678901234567890.5}"#.into()),
                Value::Text("x".into()),
                Value::Json("3".into())
            ]
        );
        assert_eq!(split("null"), []);
        assert_eq!(items(TypedData::String("[1".into())), [Value::Text("[1".into())]);
        assert_eq!(items(TypedData::String("[1]".into())), [Value::Json("1".into())]);
        assert_eq!(items(TypedData::Null), []);
    }
}
