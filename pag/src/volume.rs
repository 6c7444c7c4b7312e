//! How full a volume is.

/// Bytes of `struct VolumeStatus` (OpenAFS `src/fsint/afsint.xg`).
const SIZE: usize = 36;
/// Where its numbers stand, in it.
const VOLUME: usize = 0;
const QUOTA: usize = 20;
const USED: usize = 24;
const FREE: usize = 28;

/// How full a volume is, and what it may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeStatus {
    /// Its number.
    pub volume: u32,
    /// Its quota in KiB; 0: none.
    pub quota_kib: u32,
    /// What it holds, KiB.
    pub used_kib: u32,
    /// What the server's partition has left, KiB.
    pub partition_kib: u32,
}

impl VolumeStatus {
    /// From what VIOCGETVOLSTAT answers, in the machine's byte order.
    #[must_use]
    pub fn decode(block: &[u8]) -> Option<Self> {
        let block = block.get(..SIZE)?;
        let number = |at: usize| block.get(at..)?.first_chunk::<4>().map(|b| u32::from_ne_bytes(*b));
        Some(Self {
            volume: number(VOLUME)?,
            quota_kib: number(QUOTA)?,
            used_kib: number(USED)?,
            partition_kib: number(FREE)?,
        })
    }

    /// Bytes that still fit in. A server lets a store go over the quota by a little.
    #[must_use]
    pub fn room(&self) -> u64 {
        let quota = if self.quota_kib == 0 { u32::MAX } else { self.quota_kib };
        u64::from(quota.saturating_sub(self.used_kib).min(self.partition_kib)) * 1024
    }

    /// For VIOCSETVOLSTAT: the same volume with another quota. Names and messages stay as they are.
    pub(crate) fn with_quota(block: &[u8], quota_kib: u32) -> Option<Vec<u8>> {
        let mut out = block.get(..SIZE)?.to_vec();
        out.get_mut(QUOTA..QUOTA + 4)?.copy_from_slice(&quota_kib.to_ne_bytes());
        // Three empty texts.
        out.extend_from_slice(&[0; 3]);
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_what_quota_and_partition_leave() {
        let block = |quota: u32, used: u32, free: u32| {
            let mut b = vec![0; 60];
            for (at, n) in [(VOLUME, 7), (QUOTA, quota), (USED, used), (FREE, free)] {
                b[at..at + 4].copy_from_slice(&n.to_ne_bytes());
            }
            b
        };
        for (quota, used, free, room) in
            [(100, 40, 1000, 60), (100, 40, 10, 10), (100, 120, 1000, 0), (0, 40, 1000, 1000)]
        {
            let status = VolumeStatus::decode(&block(quota, used, free)).unwrap();
            assert_eq!((status.volume, status.room()), (7, room * 1024), "{quota} {used} {free}");
        }
        assert_eq!(VolumeStatus::decode(&[0; 35]), None);
        let changed = VolumeStatus::with_quota(&block(1, 2, 3), 500).unwrap();
        assert_eq!(VolumeStatus::decode(&changed).unwrap().quota_kib, 500);
        assert_eq!(changed.len(), SIZE + 3);
    }
}
