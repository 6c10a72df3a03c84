//! The masking of client frames (section 5.3).

/// Masks or unmasks a payload (the operation is its own inverse). `offset`: where it begins in the payload of its frame.
pub(crate) fn apply_mask(payload: &mut [u8], key: [u8; 4], offset: u64) {
    let mut rotated = [0; 4];
    for (index, byte) in rotated.iter_mut().enumerate() {
        *byte = key[(index + (offset % 4) as usize) % 4];
    }
    let word = u32::from_ne_bytes(rotated);
    let wide = u64::from(word) | (u64::from(word) << 32);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(rotated.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masking_by_words_equals_masking_by_bytes() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for length in 0..40usize {
            for offset in 0..5u64 {
                let mut payload: Vec<u8> = (0..length as u8).collect();
                let expected: Vec<u8> = (0u64..)
                    .zip(&payload)
                    .map(|(index, byte)| byte ^ key[((index + offset) % 4) as usize])
                    .collect();
                apply_mask(&mut payload, key, offset);
                assert_eq!(payload, expected, "length {length} offset {offset}");
            }
        }
    }
}
