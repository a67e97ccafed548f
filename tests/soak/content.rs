//! The bytes of a write, derived from the volume and the number of the write, so that any process
//! can compare them without a copy. Pure.

use crate::random::Random;

/// Returns the bytes of a write.
///
/// `volume` identifies the volume in this run and, by the seed in it, among the runs.
pub(crate) fn bytes(volume: u64, number: u32, length: usize) -> Vec<u8> {
    let mut mixed = Random::new(volume);
    let mut random = Random::new(mixed.next() ^ u64::from(number));
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Returns the position of the first byte that differs from those of a write, if one does.
pub(crate) fn first_difference(
    volume: u64,
    number: u32,
    length: usize,
    found: &[u8],
) -> Option<usize> {
    let expected = bytes(volume, number, length);
    if found == expected {
        return None;
    }
    let equal = found.iter().zip(&expected).take_while(|(a, b)| a == b);
    Some(equal.count())
}

#[cfg(test)]
mod tests {
    use super::{bytes, first_difference};

    #[test]
    fn writes_differ_by_volume_and_number() {
        let one = bytes(1, 1, 1000);
        assert_eq!(one.len(), 1000);
        assert_eq!(one, bytes(1, 1, 1000));
        assert_ne!(one, bytes(2, 1, 1000));
        assert_ne!(one, bytes(1, 2, 1000));
    }

    #[test]
    fn first_difference_finds_changed_cut_and_appended_bytes() {
        let mut found = bytes(1, 1, 100);
        assert_eq!(first_difference(1, 1, 100, &found), None);
        assert_eq!(first_difference(1, 1, 100, &found[..60]), Some(60));
        found[40] ^= 1;
        assert_eq!(first_difference(1, 1, 100, &found), Some(40));
        found[40] ^= 1;
        found.push(0);
        assert_eq!(first_difference(1, 1, 100, &found), Some(100));
    }
}
