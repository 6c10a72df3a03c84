//! Effective partition keys: the hash by which SDKs divide a container into ranges. Only version 2.
//!
//! Used only if a client requests a range: Python reads the feed of a single key as the range from its hash to the next.
//! The hash is MurmurHash3 x64 128 with seed 0, a public-domain algorithm by Austin Appleby.

use std::fmt::Write as _;

use crate::partition_key::{KeyComponent, PartitionKey};

/// The effective key of a partition key: 32 upper-case hexadecimal digits for each level.
pub(crate) fn effective_key(key: &PartitionKey) -> String {
    let mut text = String::new();
    for component in &key.0 {
        let (low, high) = murmur3(&encoded(component));
        // The two highest bits are cleared, so that every key sorts below `FF`, the end of the full range.
        let hash = (u128::from(high) << 64 | u128::from(low)) & (u128::MAX >> 2);
        let _ = write!(text, "{hash:032X}");
    }
    text
}

fn encoded(component: &KeyComponent) -> Vec<u8> {
    match component {
        KeyComponent::Undefined => vec![0x00],
        KeyComponent::Null => vec![0x01],
        KeyComponent::Bool(false) => vec![0x02],
        KeyComponent::Bool(true) => vec![0x03],
        KeyComponent::Number(number) => [&[0x05], number.to_le_bytes().as_slice()].concat(),
        KeyComponent::Text(text) => [&[0x08], text.as_bytes(), &[0xff]].concat(),
    }
}

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

fn murmur3(data: &[u8]) -> (u64, u64) {
    let (mut h1, mut h2) = (0_u64, 0_u64);
    let mut blocks = data.chunks_exact(16);
    for block in &mut blocks {
        let (k1, k2) = halves(block);
        h1 = (h1 ^ mix1(k1)).rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ mix2(k2)).rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    // Zeros behind the tail mix to zero, so a padded block gives what the byte-wise tail does.
    let mut tail = [0; 16];
    tail[..blocks.remainder().len()].copy_from_slice(blocks.remainder());
    let (k1, k2) = halves(&tail);
    h2 ^= mix2(k2);
    h1 ^= mix1(k1);
    let length = data.len() as u64;
    h1 ^= length;
    h2 ^= length;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    h1 = finish(h1);
    h2 = finish(h2);
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    (h1, h2)
}

fn halves(block: &[u8]) -> (u64, u64) {
    let half = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("half a block has 8 bytes"));
    (half(&block[..8]), half(&block[8..]))
}

fn mix1(k1: u64) -> u64 {
    k1.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mix2(k2: u64) -> u64 {
    k2.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finish(mut h: u64) -> u64 {
    h = (h ^ (h >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    h = (h ^ (h >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_keys_equal_those_of_the_sdks() {
        for (header, expected) in [
            (r#"["x"]"#, "11E3F358618BE9AA5BAFF4C7C74F0716"),
            (r#"[""]"#, "32E9366E637A71B4E710384B2F4970A0"),
            ("[5]", "19C08621B135968252FB34B4CF66F811"),
            ("[true]", "0E711127C5B5A8E4726AC6DD306A3E59"),
            ("[false]", "2FE1BE91E90A3439635E0E9E37361EF2"),
            ("[null]", "378867E4430E67857ACE5C908374FE16"),
            ("[{}]", "11622DAA78F835834610ABE56EFF5CB5"),
            (r#"["a","b"]"#, "3A5381E1114EB8D3FCC90795045B49B7195644569A78B1E22D200348AF9416CE"),
        ] {
            let key = PartitionKey::parse_header(header).expect("a good header");
            assert_eq!(effective_key(&key), expected, "{header}");
        }
    }
}
