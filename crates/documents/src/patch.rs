//! Patches: partial updates of an item, atomic.

use serde_json::{Map, Value};

use crate::error::RequestFailure;
use crate::query::{self, Meter, QueryBudget, SqlQuery};

/// Most operations in one patch.
const OPERATIONS_MAX: usize = 10;

/// Longest condition, in bytes.
const CONDITION_BYTES_MAX: usize = 64 * 1024;
/// Most steps of a condition, without those for reading its item. All writes wait for the writer, which evaluates it.
const CONDITION_STEPS_MAX: u64 = 200_000;

/// A parsed patch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Patch {
    pub(crate) condition: Option<Condition>,
    operations: Vec<Operation>,
}

/// A query (`from c where …`) that the item must satisfy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition(SqlQuery);

#[derive(Clone, Debug, PartialEq)]
struct Operation {
    verb: Verb,
    path: Vec<String>,
    /// The value; null if there is none.
    value: Value,
    /// The source of a move.
    from: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Add,
    Set,
    Replace,
    Remove,
    Increment,
    Move,
}

impl Condition {
    /// Whether the item, system properties included, satisfies the condition.
    pub(crate) fn holds_for(&self, item: &Value, now_ts: i64) -> Result<bool, RequestFailure> {
        let meter = Meter::of_steps(QueryBudget { rows: 1, steps: CONDITION_STEPS_MAX });
        let holds = meter.next_row(0)? && query::holds(&self.0, item, now_ts, &meter);
        Ok(meter.row_is_complete()? && holds)
    }
}

impl Patch {
    /// Parses the body of a PATCH: an array of operations, or an object with `operations` and `condition`.
    pub(crate) fn from_json(body: &Value) -> Result<Self, RequestFailure> {
        let operations = body.as_array().or_else(|| body.get("operations")?.as_array());
        let operations = operations.ok_or_else(|| {
            RequestFailure::bad_request(
                "The body of a patch must be an array of operations, or an object {\"operations\":[…]}.",
            )
        })?;
        if operations.is_empty() || operations.len() > OPERATIONS_MAX {
            return Err(RequestFailure::bad_request(format!(
                "A patch has 1 to {OPERATIONS_MAX} operations."
            )));
        }
        let condition = match body.get("condition") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.len() > CONDITION_BYTES_MAX => {
                return Err(RequestFailure::bad_request(format!(
                    "The condition of a patch has {} bytes; at most {CONDITION_BYTES_MAX} are allowed.",
                    text.len()
                )));
            }
            Some(Value::String(text)) => {
                let query = query::parse(&format!("SELECT * {text}"), &Map::new())?;
                Some(Condition(query))
            }
            Some(_) => {
                return Err(RequestFailure::bad_request(
                    "The condition of a patch must be a string such as \"from c where c.x = 1\".",
                ));
            }
        };
        let operations = operations.iter().map(Operation::from_json).collect::<Result<_, _>>()?;
        Ok(Self { condition, operations })
    }

    /// The item after all operations.
    pub(crate) fn apply(&self, item: Map<String, Value>) -> Result<Map<String, Value>, RequestFailure> {
        let mut item = Value::Object(item);
        for operation in &self.operations {
            operation.apply(&mut item)?;
        }
        match item {
            Value::Object(item) => Ok(item),
            _ => unreachable!("no operation has an empty path, so none replaces the item itself"),
        }
    }
}

impl Operation {
    fn from_json(value: &Value) -> Result<Self, RequestFailure> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let verb = match text("op").map(str::to_ascii_lowercase).as_deref() {
            Some("add") => Verb::Add,
            Some("set") => Verb::Set,
            Some("replace") => Verb::Replace,
            Some("remove") => Verb::Remove,
            Some("incr" | "increment") => Verb::Increment,
            Some("move") => Verb::Move,
            _ => {
                return Err(RequestFailure::bad_request(
                    "Each operation of a patch needs an op: add, set, replace, remove, incr or move.",
                ));
            }
        };
        let path = text("path").and_then(pointer).ok_or_else(|| {
            RequestFailure::bad_request(
                "Each operation of a patch needs a path such as /a/b that is not the item itself.",
            )
        })?;
        let needs_value = !matches!(verb, Verb::Remove | Verb::Move);
        let given = value.get("value");
        if needs_value && given.is_none() {
            return Err(RequestFailure::bad_request(format!(
                "The patch operation on {} needs a value.",
                shown(&path)
            )));
        }
        let from = if verb == Verb::Move {
            text("from")
                .and_then(pointer)
                .ok_or_else(|| RequestFailure::bad_request("A move in a patch needs a from path."))?
        } else {
            Vec::new()
        };
        if verb == Verb::Move && path.starts_with(&from) {
            return Err(RequestFailure::bad_request("A move in a patch cannot move a value into itself."));
        }
        // System properties are overwritten anyway; an error is better than ignoring the operation.
        if let Some(name) =
            [&path, &from].into_iter().filter_map(|path| path.first()).find(|name| is_system(name))
        {
            return Err(RequestFailure::bad_request(format!(
                "A patch cannot change the system property {name}."
            )));
        }
        Ok(Self { verb, path, value: given.cloned().unwrap_or(Value::Null), from })
    }

    fn apply(&self, item: &mut Value) -> Result<(), RequestFailure> {
        match self.verb {
            Verb::Add => put(item, &self.path, self.value.clone(), true),
            Verb::Set => put(item, &self.path, self.value.clone(), false),
            Verb::Replace => {
                *existing(item, &self.path)? = self.value.clone();
                Ok(())
            }
            Verb::Remove => remove_value(item, &self.path).map(drop),
            Verb::Increment => increment(item, &self.path, &self.value),
            Verb::Move => {
                let value = remove_value(item, &self.from)?;
                put(item, &self.path, value, true)
            }
        }
    }
}

/// Splits a JSON pointer into names; decodes `~0` and `~1`.
fn pointer(path: &str) -> Option<Vec<String>> {
    let names = path.strip_prefix('/')?.split('/').map(|name| name.replace("~1", "/").replace("~0", "~"));
    let names: Vec<_> = names.collect();
    names.iter().all(|name| !name.is_empty()).then_some(names)
}

fn is_system(name: &str) -> bool {
    crate::from_protocol::SYSTEM_PROPERTIES.contains(&name)
}

fn shown(path: &[String]) -> String {
    format!("/{}", path.join("/"))
}

fn missing(path: &[String]) -> RequestFailure {
    RequestFailure::bad_request(format!("The patch names {}, which does not exist in the item.", shown(path)))
}

fn existing<'a>(item: &'a mut Value, path: &[String]) -> Result<&'a mut Value, RequestFailure> {
    path.iter().try_fold(item, |value, name| child(value, name)).ok_or_else(|| missing(path))
}

fn child<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    match value {
        Value::Object(object) => object.get_mut(name),
        Value::Array(array) => array.get_mut(name.parse::<usize>().ok()?),
        _ => None,
    }
}

/// Sets a value at a path whose parent exists. `insert` shifts the later elements of an array; otherwise one is overwritten.
fn put(item: &mut Value, path: &[String], value: Value, insert: bool) -> Result<(), RequestFailure> {
    let (last, parents) = path.split_last().expect("a parsed pointer has at least one name");
    match existing(item, parents)? {
        Value::Object(object) => {
            object.insert(last.clone(), value);
            Ok(())
        }
        Value::Array(array) if last == "-" => {
            array.push(value);
            Ok(())
        }
        Value::Array(array) => {
            let index = last.parse::<usize>().map_err(|_| missing(path))?;
            match (insert, index.cmp(&array.len())) {
                (true, std::cmp::Ordering::Less | std::cmp::Ordering::Equal) => array.insert(index, value),
                (false, std::cmp::Ordering::Less) => array[index] = value,
                _ => return Err(missing(path)),
            }
            Ok(())
        }
        _ => Err(missing(path)),
    }
}

fn remove_value(item: &mut Value, path: &[String]) -> Result<Value, RequestFailure> {
    let (last, parents) = path.split_last().expect("a parsed pointer has at least one name");
    let taken = match existing(item, parents)? {
        // The order of the other properties is preserved.
        Value::Object(object) => object.shift_remove(last),
        Value::Array(array) => {
            let index = last.parse::<usize>().ok().filter(|index| *index < array.len());
            index.map(|index| array.remove(index))
        }
        _ => None,
    };
    taken.ok_or_else(|| missing(path))
}

fn increment(item: &mut Value, path: &[String], by: &Value) -> Result<(), RequestFailure> {
    let wrong = || {
        RequestFailure::bad_request(format!(
            "The patch increments {}; both values must be numbers.",
            shown(path)
        ))
    };
    if !by.is_number() {
        return Err(wrong());
    }
    let Ok(target) = existing(item, path) else { return put(item, path, by.clone(), false) };
    let whole = target.as_i64().zip(by.as_i64()).and_then(|(target, by)| target.checked_add(by));
    *target = match whole {
        Some(sum) => Value::from(sum),
        None => Value::from(target.as_f64().ok_or_else(wrong)? + by.as_f64().ok_or_else(wrong)?),
    };
    Ok(())
}
