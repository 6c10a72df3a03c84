//! The `redis` input and output bindings: a command with its arguments.

use std::sync::Arc;

use functions_contract::{BindingContext, BindingError, BindingSpec, Reader, Sink, Value, find_property};
use redis::{Cmd, Pipeline, Value as Reply};
use serde_json::Value as Json;

use crate::client::RedisClient;
use crate::trigger_options::{invalid_property, required};
use crate::value::text_or_bytes;

/// The commands that an input may use, as in the Azure Functions extension: they change nothing and return one value.
const READ_COMMANDS: [&str; 35] = [
    "BITCOUNT",
    "BITPOS",
    "DBSIZE",
    "DUMP",
    "EXISTS",
    "EXPIRETIME",
    "GEODIST",
    "GET",
    "GETBIT",
    "GETRANGE",
    "HEXISTS",
    "HGET",
    "HLEN",
    "HSTRLEN",
    "LINDEX",
    "LLEN",
    "PEXPIRETIME",
    "PFCOUNT",
    "PTTL",
    "RANDOMKEY",
    "SCARD",
    "SINTERCARD",
    "SISMEMBER",
    "STRLEN",
    "SUBSTR",
    "TOUCH",
    "TTL",
    "TYPE",
    "XLEN",
    "ZCARD",
    "ZCOUNT",
    "ZDIFF",
    "ZINTERCARD",
    "ZLEXCOUNT",
    "ZSCORE",
];

/// Input binding: the result of a command such as `GET key`.
pub(crate) struct CommandReader {
    client: Arc<RedisClient>,
    function: String,
}

/// Output binding: a command such as `SET`, whose arguments are what the function returns.
pub(crate) struct CommandSink {
    client: Arc<RedisClient>,
    function: String,
}

impl CommandReader {
    pub(crate) fn new(spec: &BindingSpec, client: Arc<RedisClient>) -> Result<Self, BindingError> {
        let command = required(spec, "command")?;
        let name = command.split(' ').next().unwrap_or_default();
        // With an expression, the name is known at each invocation.
        if !name.contains('{') {
            check_read_command(name).map_err(|why| invalid_property(spec, "command", &why))?;
        }
        Ok(Self { client, function: spec.function.clone() })
    }
}

fn check_read_command(name: &str) -> Result<(), String> {
    if READ_COMMANDS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return Ok(());
    }
    Err(format!(
        "is '{name}', but an input only runs commands that read one value: {}",
        READ_COMMANDS.join(", ")
    ))
}

#[async_trait::async_trait]
impl Reader for CommandReader {
    async fn read(&self, context: &BindingContext<'_>) -> Result<Value, BindingError> {
        let command = command_of(context)?;
        let name = command.split(' ').next().unwrap_or_default();
        check_read_command(name).map_err(|why| BindingError::Value(format!("the command {why}")))?;
        let mut cmd = Cmd::new();
        cmd.arg(command.split(' ').collect::<Vec<_>>());
        let what = format!("run {name} for the redis input of function '{}'", self.function);
        match self.client.query::<Reply>(&what, &cmd).await? {
            Reply::Nil => Ok(Value::Null),
            Reply::BulkString(bytes) => Ok(text_or_bytes(bytes)),
            Reply::SimpleString(text) => Ok(Value::Text(text.into())),
            Reply::Okay => Ok(Value::Text("OK".into())),
            // As text: the Azure Functions extension gives functions strings.
            Reply::Int(number) => Ok(Value::Text(number.to_string().into())),
            Reply::Double(number) => Ok(Value::Text(number.to_string().into())),
            _ => Err(BindingError::Value(format!(
                "{name} returned several values, but the redis input of function '{}' gives one; use a command that returns one",
                self.function
            ))),
        }
    }
}

impl CommandSink {
    pub(crate) fn new(spec: &BindingSpec, client: Arc<RedisClient>) -> Result<Self, BindingError> {
        required(spec, "command")?;
        Ok(Self { client, function: spec.function.clone() })
    }

    /// The arguments that an item gives: its words.
    fn arguments(&self, item: &Value) -> Result<Vec<Vec<u8>>, BindingError> {
        let words = |text: &str| text.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let text = match item {
            Value::Text(text) => text.to_string(),
            // A JSON string is its text; anything else is its JSON.
            Value::Json(json) => match serde_json::from_str(json) {
                Ok(Json::String(text)) => text,
                _ => json.to_string(),
            },
            Value::Integer(number) => number.to_string(),
            Value::Double(number) => number.to_string(),
            Value::Bytes(bytes) => {
                return Ok(bytes.split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect());
            }
            Value::Null | Value::Many(_) | Value::Deferred(_) => String::new(),
        };
        if text.trim().is_empty() {
            return Err(BindingError::Value(format!(
                "function '{}' returned nothing for its redis output; return the command's arguments, separated by spaces, such as 'key value'",
                self.function
            )));
        }
        Ok(words(&text))
    }
}

#[async_trait::async_trait]
impl Sink for CommandSink {
    async fn write(&self, context: &BindingContext<'_>, items: Vec<Value>) -> Result<(), BindingError> {
        let command = command_of(context)?;
        let mut commands = Pipeline::new();
        // All items are checked before the first one is written.
        for item in &items {
            let arguments = self.arguments(item)?;
            let mut cmd = Cmd::new();
            cmd.arg(command.split(' ').collect::<Vec<_>>()).arg(arguments);
            commands.add_command(cmd);
        }
        if items.is_empty() {
            return Ok(());
        }
        let what = format!("run {command} for the redis output of function '{}'", self.function);
        self.client.run_all(&what, &commands).await
    }
}

/// The command with this invocation's expressions resolved.
fn command_of(context: &BindingContext<'_>) -> Result<String, BindingError> {
    let command = find_property(context.properties, "command").and_then(Json::as_str).map(str::trim);
    let command = command.filter(|command| !command.is_empty());
    command.map(str::to_owned).ok_or_else(|| {
        BindingError::Value("the command is empty after its expressions are resolved".to_owned())
    })
}
