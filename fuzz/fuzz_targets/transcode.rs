//! Values from JSON to MessagePack and back: an accepted value keeps its meaning, and a value that was accepted for conversion can always
//! be converted.

#![no_main]

use chappe_fuzz::memory::peak_bytes;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use signalr_protocol::{check_json, json_to_msgpack, msgpack_to_json};

/// A control character is six characters in JSON, a short whole number up to three, a timestamp of six bytes is 22.
const JSON_BYTES_PER_BYTE: usize = 6;

fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        Some((0, json)) => from_json(json),
        Some((_, msgpack)) => from_msgpack(msgpack),
        None => {}
    }
});

fn from_json(json: &[u8]) {
    let mut msgpack = Vec::new();
    let (outcome, peak) = peak_bytes(|| json_to_msgpack(json, &mut msgpack));
    assert!(peak <= 16 * json.len() + 1024, "{peak} bytes for {}", json.len());
    let value = serde_json::from_slice::<Value>(json);
    // serde_json rejects halves of surrogate pairs and numbers without bound, which are valid JSON.
    let is_odd = json.windows(2).any(|two| two == b"\\u") || json.iter().any(|byte| byte.is_ascii_digit());
    assert!(outcome.is_ok() == value.is_ok() || outcome.is_ok() && is_odd, "{outcome:?}");
    assert_eq!(outcome.is_ok(), check_json(json).is_ok(), "what was promised");
    if outcome.is_err() {
        return;
    }
    let mut back = Vec::new();
    msgpack_to_json(&msgpack, &mut back).expect("what was translated can be translated back");
    let Ok(value) = value else { return };
    let back: Value = serde_json::from_slice(&back).expect("the way back gives JSON");
    assert!(same(&value, &back), "{value} became {back}");
}

fn from_msgpack(msgpack: &[u8]) {
    let mut json = Vec::new();
    let (outcome, peak) = peak_bytes(|| msgpack_to_json(msgpack, &mut json));
    assert!(peak <= 3 * JSON_BYTES_PER_BYTE * msgpack.len() + 1024, "{peak} bytes for {}", msgpack.len());
    if outcome.is_err() {
        return;
    }
    assert!(
        json.len() <= JSON_BYTES_PER_BYTE * msgpack.len() + 64,
        "{} bytes from {}",
        json.len(),
        msgpack.len()
    );
    assert!(check_json(&json).is_ok(), "the translation is JSON");
    let mut again = Vec::new();
    json_to_msgpack(&json, &mut again).expect("what was translated can be translated back");
    let mut back = Vec::new();
    msgpack_to_json(&again, &mut back).expect("and once more");
    let (Ok(value), Ok(back)) = (serde_json::from_slice::<Value>(&json), serde_json::from_slice(&back))
    else {
        return;
    };
    assert!(same(&value, &back), "{value} became {back}");
}

/// Equal, except for the last bit of a fraction: serde_json reads long ones exactly only with a feature that makes all parsing slower.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() && other.is_f64() => {
            let (one, other) = (one.as_f64().unwrap_or_default(), other.as_f64().unwrap_or_default());
            one.to_bits().abs_diff(other.to_bits()) <= 2
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().zip(other).all(|((key, one), (name, other))| key == name && same(one, other))
        }
        _ => one == other,
    }
}
