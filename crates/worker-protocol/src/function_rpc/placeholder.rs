//! [`Placeholder`]: stored bytes in a protobuf message.
//!
//! Protobuf writes the length of each nested message in front of it, and prost encodes a message in memory. So the message is encoded
//! with a marker instead of the stored bytes; then the marker is replaced, and so are the lengths of all messages around it.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{Chunk, HostMessage, StoredBytes, TypedData};

/// Stands for the stored bytes of a message while it is encoded.
#[derive(Debug)]
pub struct Placeholder {
    marker: Bytes,
    stored: StoredBytes,
}

/// An encoded message in chunks, and its size in bytes.
type Chunks = (Vec<Chunk>, usize);

impl Placeholder {
    /// Replaces the stored bytes of a message with `marker`; `None` if it has none. The marker must not occur elsewhere in the message:
    /// use at least 16 random bytes. It must be UTF-8 if and only if the stored bytes are, as some workers get text as text.
    pub fn insert(message: &mut HostMessage, marker: Bytes) -> Option<Self> {
        let value = find(message)?;
        match std::mem::replace(value, TypedData::Bytes(marker.clone())) {
            TypedData::Stored(stored) => Some(Self { marker, stored }),
            other => {
                *value = other;
                None
            }
        }
    }

    /// The chunks of the encoded message, with the stored bytes instead of the marker, and its size in bytes.
    pub fn replace(&self, encoded: &Bytes) -> (Vec<Chunk>, usize) {
        let offsets: Vec<usize> = encoded
            .windows(self.marker.len())
            .enumerate()
            .filter(|(_, window)| *window == self.marker)
            .map(|(at, _)| at)
            .collect();
        self.splice(encoded, 0, encoded.len(), &offsets)
    }

    /// Rewrites the message in the range `from..to`.
    fn splice(&self, encoded: &Bytes, from: usize, to: usize, offsets: &[usize]) -> Chunks {
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        let mut push = |chunk: Chunk| {
            bytes += chunk.bytes();
            if chunk.bytes() > 0 {
                chunks.push(chunk);
            }
        };
        let (mut at, mut copied) = (from, from);
        while at < to {
            let Some(field) = Field::read(encoded, at, to) else { break };
            at = field.end;
            if !offsets.iter().any(|offset| field.content <= *offset && *offset < field.end) {
                continue;
            }
            push(encoded.slice(copied..field.after_key).into());
            copied = field.end;
            if encoded[field.content..field.end] == self.marker {
                push(varint(self.stored.bytes()).into());
                push(Chunk::Stored(self.stored.clone()));
            } else {
                let (inner, inner_bytes) = self.splice(encoded, field.content, field.end, offsets);
                push(varint(inner_bytes).into());
                inner.into_iter().for_each(&mut push);
            }
        }
        push(encoded.slice(copied..to).into());
        (chunks, bytes)
    }
}

fn find(message: &mut HostMessage) -> Option<&mut TypedData> {
    let HostMessage::Invoke(request) = message else { return None };
    request.input_data.iter_mut().find_map(|parameter| match &mut parameter.data {
        TypedData::Http(http) => matches!(http.body, TypedData::Stored(_)).then_some(&mut http.body),
        data => matches!(data, TypedData::Stored(_)).then_some(data),
    })
}

/// The range of a field in an encoded message.
struct Field {
    after_key: usize,
    content: usize,
    end: usize,
}

impl Field {
    fn read(encoded: &[u8], at: usize, to: usize) -> Option<Self> {
        let (key, after_key) = read_varint(encoded, at)?;
        let (content, end) = match key & 7 {
            0 => (after_key, read_varint(encoded, after_key)?.1),
            1 => (after_key, after_key + 8),
            2 => {
                let (length, content) = read_varint(encoded, after_key)?;
                (content, content.checked_add(usize::try_from(length).ok()?)?)
            }
            5 => (after_key, after_key + 4),
            _ => return None,
        };
        (end <= to).then_some(Self { after_key, content, end })
    }
}

fn read_varint(encoded: &[u8], at: usize) -> Option<(u64, usize)> {
    let (mut value, mut shift) = (0_u64, 0);
    for (index, byte) in encoded.get(at..)?.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            return Some((value, at + index + 1));
        }
    }
    None
}

fn varint(value: usize) -> Bytes {
    let (mut rest, mut bytes) = (value, BytesMut::new());
    while rest >= 0x80 {
        bytes.put_u8((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.put_u8(rest as u8);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::function_rpc::encode_host;
    use crate::{Capabilities, InvocationRequest, ParameterBinding, RpcHttp, stored};

    fn message(body: TypedData, url_bytes: usize, others: usize) -> HostMessage {
        let http = RpcHttp {
            method: "POST".into(),
            url: "u".repeat(url_bytes),
            headers: [("content-type".to_owned(), "text/plain".to_owned())].into(),
            body,
            ..RpcHttp::default()
        };
        let other =
            |at: usize| ParameterBinding { name: format!("other{at}"), data: TypedData::Int(at as i64) };
        let mut input_data: Vec<_> = (0..others).map(other).collect();
        input_data.push(ParameterBinding { name: "req".into(), data: http.into() });
        input_data.push(other(others));
        HostMessage::Invoke(InvocationRequest {
            invocation_id: "i".into(),
            function_id: "f".into(),
            input_data,
            ..InvocationRequest::default()
        })
    }

    proptest! {
        #[test]
        fn a_message_with_stored_bytes_has_the_same_encoding_as_one_with_bytes(
            content in prop::collection::vec(any::<u8>(), 0..40_000),
            is_text: bool,
            url_bytes in 0_usize..20_000,
            others in 0_usize..4,
            has_raw: bool,
            body_only: bool,
        ) {
            // Text is ASCII.
            let content: Vec<u8> = content.into_iter().map(|byte| if is_text { byte & 0x7f } else { byte | 0x80 }).collect();
            let content = Bytes::from(content);
            let flags = [(Capabilities::RAW_HTTP_BODY_BYTES, has_raw), (Capabilities::RPC_HTTP_BODY_ONLY, body_only)];
            let worker: Capabilities = flags.into_iter().filter(|(_, on)| *on).map(|(name, _)| (name, "true")).collect();
            let whole = message(TypedData::Bytes(content.clone()), url_bytes, others);
            let expected = encode_host(whole, &worker, "R".to_owned()).encode_to_vec();

            let stored = stored::in_memory(content.clone());
            let mut with_placeholder = message(TypedData::Stored(stored.clone()), url_bytes, others);
            let marker: &[u8] = if is_text || content.is_empty() { b"0123456789abcdef0123456789abcdef" } else { b"\xff123456789abcdef" };
            let placeholder = Placeholder::insert(&mut with_placeholder, Bytes::from_static(marker)).expect("it has stored bytes");
            let encoded = encode_host(with_placeholder, &worker, "R".to_owned()).encode_to_vec();
            let (chunks, bytes) = placeholder.replace(&encoded.into());
            prop_assert_eq!(bytes, expected.len());
            let mut joined = Vec::new();
            for chunk in &chunks {
                match chunk {
                    Chunk::Bytes(bytes) => joined.extend_from_slice(bytes),
                    Chunk::Stored(found) => {
                        prop_assert_eq!(found, &stored);
                        joined.extend_from_slice(&content);
                    }
                }
            }
            prop_assert!(joined == expected);
        }
    }

    #[test]
    fn messages_without_stored_bytes_have_no_placeholder() {
        let mut plain = message(TypedData::Null, 1, 1);
        assert!(Placeholder::insert(&mut plain, Bytes::from_static(b"marker")).is_none());
        assert_eq!(plain, message(TypedData::Null, 1, 1));
        assert!(Placeholder::insert(&mut HostMessage::Status, Bytes::from_static(b"marker")).is_none());
    }
}
