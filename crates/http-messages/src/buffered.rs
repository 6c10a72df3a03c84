//! [`BufferedBody`]: a body in memory.

use bytes::Bytes;

use crate::budget::Reservation;

/// A body in memory; its reservation is released when this is dropped. Clones of its bytes may outlive it: what keeps them has
/// a bound of its own.
#[derive(Debug)]
pub struct BufferedBody {
    bytes: Bytes,
    reservation: Option<Reservation>,
}

/// Bytes that release their reservation with their last clone.
struct Owned {
    bytes: Bytes,
    #[allow(dead_code, reason = "kept for its Drop, which releases the reservation")]
    reservation: Reservation,
}

impl BufferedBody {
    pub(crate) fn new(bytes: Bytes, reservation: Reservation) -> Self {
        Self { bytes, reservation: Some(reservation) }
    }

    pub(crate) fn empty() -> Self {
        Self { bytes: Bytes::new(), reservation: None }
    }

    /// The bytes, whose last clone or slice releases the reservation.
    pub fn into_bytes(self) -> Bytes {
        match self.reservation {
            Some(reservation) if !self.bytes.is_empty() => {
                Bytes::from_owner(Owned { bytes: self.bytes, reservation })
            }
            _ => self.bytes,
        }
    }
}

impl std::ops::Deref for BufferedBody {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
