//! A simple parser that skips MessagePack values: an independent check of where a value ends.

/// Bytes of the first value; `None` if it is incomplete or not MessagePack.
pub fn value_bytes(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut open) = (0usize, 1u64);
    while open > 0 {
        open -= 1;
        let number = |from: usize, count: usize| -> Option<u64> {
            Some(bytes.get(from..from + count)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
        };
        let marker = *bytes.get(at)?;
        at += 1;
        // How many bytes of length follow, how many bytes without length, how many inner values for each count.
        let (length_bytes, fixed, within) = match marker {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, 0, 0),
            0x80..=0x8f => {
                open += 2 * u64::from(marker & 15);
                (0, 0, 0)
            }
            0x90..=0x9f => {
                open += u64::from(marker & 15);
                (0, 0, 0)
            }
            0xa0..=0xbf => (0, usize::from(marker & 31), 0),
            0xc1 => return None,
            0xc4 | 0xd9 => (1, 0, 0),
            0xc5 | 0xda => (2, 0, 0),
            0xc6 | 0xdb => (4, 0, 0),
            0xc7 => (1, 1, 0),
            0xc8 => (2, 1, 0),
            0xc9 => (4, 1, 0),
            0xcc | 0xd0 => (0, 1, 0),
            0xcd | 0xd1 => (0, 2, 0),
            0xca | 0xce | 0xd2 => (0, 4, 0),
            0xcb | 0xcf | 0xd3 => (0, 8, 0),
            0xd4 => (0, 2, 0),
            0xd5 => (0, 3, 0),
            0xd6 => (0, 5, 0),
            0xd7 => (0, 9, 0),
            0xd8 => (0, 17, 0),
            0xdc => (2, 0, 1),
            0xdd => (4, 0, 1),
            0xde => (2, 0, 2),
            0xdf => (4, 0, 2),
        };
        let length = number(at, length_bytes)?;
        at += length_bytes + fixed;
        if within > 0 {
            open += within * length;
        } else {
            at = at.checked_add(usize::try_from(length).ok()?)?;
        }
        if at > bytes.len() || open > (bytes.len() - at) as u64 {
            return None;
        }
    }
    Some(at)
}
