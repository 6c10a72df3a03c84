//! The settings at the start of an input, and a stream that is divided into chunks by them.

/// Bytes of settings: a byte of flags, a byte that selects a limit, and three positions at which the stream is divided.
pub const SETTINGS_BYTES: usize = 8;

/// The settings of an input.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bits for the target; the highest one divides the stream into single bytes.
    pub switches: u8,
    /// The largest message allowed, in bytes.
    pub bytes_max: u32,
    cuts: [u16; 3],
}

/// Limits near which heads change their form, and ordinary ones.
const LIMITS: [u32; 8] = [0, 1, 16, 125, 126, 1000, 65_535, 1 << 20];

const BYTE_BY_BYTE: u8 = 0x80;

impl Settings {
    /// Removes the settings from the start of an input; `None` if it is too short to have any.
    pub fn split(data: &[u8]) -> Option<(Self, &[u8])> {
        let ([switches, limit, a, b, c, d, e, f], stream) = data.split_first_chunk::<SETTINGS_BYTES>()?;
        let cuts = [[*a, *b], [*c, *d], [*e, *f]].map(u16::from_le_bytes);
        let bytes_max = LIMITS[usize::from(*limit) % LIMITS.len()];
        Some((Self { switches: *switches, bytes_max, cuts }, stream))
    }

    /// The chunks of the stream; some may be empty.
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
