//! The settings at the beginning of an input, and a stream cut into pieces by them.

/// Bytes of settings: a byte of switches, a byte that picks a limit, and three places to cut at.
pub const SETTINGS_BYTES: usize = 8;

/// What the fuzzer chose beside the stream.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bits for the target to use as it likes, but for the highest, which cuts the stream into single bytes.
    pub switches: u8,
    /// The largest message allowed, in bytes.
    pub bytes_max: u32,
    cuts: [u16; 3],
}

/// Limits around which heads change their form, and ordinary ones.
const LIMITS: [u32; 8] = [0, 1, 16, 125, 126, 1000, 65_535, 1 << 20];

const BYTE_BY_BYTE: u8 = 0x80;

impl Settings {
    /// Takes the settings off an input; `None` when it is too short to have any.
    pub fn split(data: &[u8]) -> Option<(Self, &[u8])> {
        let ([switches, limit, a, b, c, d, e, f], stream) = data.split_first_chunk::<SETTINGS_BYTES>()?;
        let cuts = [[*a, *b], [*c, *d], [*e, *f]].map(u16::from_le_bytes);
        let bytes_max = LIMITS[usize::from(*limit) % LIMITS.len()];
        Some((Self { switches: *switches, bytes_max, cuts }, stream))
    }

    /// The stream in pieces, which are the stream when joined; some may be empty.
    pub fn pieces<'a>(&self, stream: &'a [u8]) -> Vec<&'a [u8]> {
        if self.switches & BYTE_BY_BYTE != 0 {
            return stream.chunks(1).collect();
        }
        let mut cuts = self.cuts.map(|cut| usize::from(cut) % (stream.len() + 1)).to_vec();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect()
    }
}
