//! The checksum of a database page, and of a frame of the write-ahead log. Pure.
//!
//! A page of the database file ends with [`RESERVED_BYTES`] bytes that SQLite does not use (the "reserved region" of its file
//! format): the page's number and the CRC-32 of everything before it, both little-endian. The number detects a page that
//! was written to the wrong position. A CRC-32 detects every error of one, two or three bits and every burst of up to 32.
//!
//! Frames of the write-ahead log carry SQLite's own checksum, which SQLite checks only when it recovers the log. Here it is
//! checked at every read of a page (<https://www.sqlite.org/fileformat2.html#checksum_algorithm>).

/// Bytes of a page. SQLite's default, and the only size that these files have.
pub(crate) const PAGE_BYTES: usize = 4096;

/// Bytes at the end of each page for number and checksum.
pub(crate) const RESERVED_BYTES: u8 = 8;

/// Where page 1 holds the number of reserved bytes.
pub(crate) const RESERVED_AT: usize = 20;

/// Where page 1 holds `user_version`, big-endian: the format of the file.
pub(crate) const FORMAT_AT: usize = 60;

/// Bytes before the first frame of a write-ahead log, and before the page of each frame.
pub(crate) const LOG_HEADER_BYTES: usize = 32;
pub(crate) const FRAME_HEADER_BYTES: usize = 24;

const NUMBER_AT: usize = PAGE_BYTES - 8;
const SUM_AT: usize = PAGE_BYTES - 4;

/// A page's bytes.
pub(crate) type PageBytes = [u8; PAGE_BYTES];

/// Writes number and checksum into the reserved bytes.
pub(crate) fn set_checksum(page: &mut PageBytes, number: u32) {
    page[NUMBER_AT..SUM_AT].copy_from_slice(&number.to_le_bytes());
    let sum = crc32fast::hash(&page[..SUM_AT]);
    page[SUM_AT..].copy_from_slice(&sum.to_le_bytes());
}

/// Whether number and checksum of a page are correct.
pub(crate) fn is_intact(page: &PageBytes, number: u32) -> bool {
    page[NUMBER_AT..SUM_AT] == number.to_le_bytes()
        && page[SUM_AT..] == crc32fast::hash(&page[..SUM_AT]).to_le_bytes()
}

/// Whether the checksum in a frame's header is correct for its page. `before` is the checksum of the log up to this frame: the last eight bytes of
/// the header before it. `is_big_endian` is the lowest bit of the log's magic number.
pub(crate) fn is_intact_frame(
    before: [u8; 8],
    header: &[u8; FRAME_HEADER_BYTES],
    page: &PageBytes,
    is_big_endian: bool,
) -> bool {
    let number = |bytes: &[u8]| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let mut sums = (number(&before[..4]), number(&before[4..]));
    add(&mut sums, &header[..8], is_big_endian);
    add(&mut sums, page, is_big_endian);
    sums == (number(&header[16..20]), number(&header[20..24]))
}

fn add(sums: &mut (u32, u32), bytes: &[u8], is_big_endian: bool) {
    for pair in bytes.chunks_exact(8) {
        let number = |at: usize| {
            let bytes = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
            if is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        sums.0 = sums.0.wrapping_add(number(0)).wrapping_add(sums.1);
        sums.1 = sums.1.wrapping_add(number(4)).wrapping_add(sums.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_or_another_page_number_is_detected() {
        let mut page = [0; PAGE_BYTES];
        for (index, byte) in page.iter_mut().enumerate() {
            *byte = (index * 7 % 251) as u8;
        }
        set_checksum(&mut page, 9);
        assert!(is_intact(&page, 9) && !is_intact(&page, 8));
        for bit in 0..PAGE_BYTES * 8 {
            page[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_intact(&page, 9), "bit {bit}");
            page[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(!is_intact(&[0; PAGE_BYTES], 0) && !is_intact(&[0; PAGE_BYTES], 1));
    }
}
