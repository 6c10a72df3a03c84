//! [`OversizedMessage`]: a message of an app server above the size limit; only its beginning is available.

use signalr_protocol::service::parse_prefix;

/// The beginning of a message above the size limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OversizedMessage {
    bytes: usize,
    bytes_max: u32,
    /// The type of the service message.
    pub(super) kind: u64,
    pub(super) texts: Vec<Box<str>>,
    number: Option<u64>,
    pub(super) payload: Box<[u8]>,
}

impl OversizedMessage {
    /// Reads the beginning of a message of `bytes` bytes.
    pub(crate) fn new(started: &[u8], bytes: usize, bytes_max: u32) -> Self {
        match parse_prefix(started) {
            Some(read) => Self {
                bytes,
                bytes_max,
                kind: read.kind,
                texts: read.texts.into_iter().map(Into::into).collect(),
                number: read.number,
                payload: read.bytes.into(),
            },
            None => {
                let (texts, payload) = (Vec::new(), Box::default());
                Self { bytes, bytes_max, kind: 0, texts, number: None, payload }
            }
        }
    }

    /// The id of the ack that the app server waits for.
    pub(super) fn ack_id(&self) -> Option<i32> {
        let asks = matches!(self.kind, 18 | 19 | 21 | 23..=27 | 30..=33);
        self.number.filter(|_| asks).and_then(|number| i32::try_from(number).ok())
    }

    /// The error text.
    pub(super) fn error(&self) -> String {
        let Self { bytes, bytes_max, kind, .. } = self;
        format!(
            "a message of type {kind} has {bytes} bytes, more than the {bytes_max} allowed (servers.message_bytes_max)"
        )
    }
}
