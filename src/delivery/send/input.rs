//! What has come on a connection of a delivery and was not read. Lives inside the connection, and so on a delivery thread.

use crate::delivery::send::answer::error::HEAD_BYTES;

/// As much as most answers take.
const INPUT_BYTES: usize = 1024;

/// What has come and was not read.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// It grows, up to the length that a head may have, as more comes at once.
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
}

impl Input {
    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.begin..self.end).unwrap_or_default()
    }

    /// Where more can be put.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.end == self.buffer.len() {
            let length = self.buffer.len().saturating_mul(2).clamp(INPUT_BYTES, HEAD_BYTES);
            self.buffer.resize(length, 0);
        }
        if self.begin > 0 {
            self.buffer.copy_within(self.begin..self.end, 0);
            self.end -= self.begin;
            self.begin = 0;
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// So many bytes were put there.
    pub(super) fn came(&mut self, count: usize) {
        self.end += count;
    }

    /// So many of the first ones have been read.
    pub(super) fn consume(&mut self, count: usize) {
        self.begin = self.end.min(self.begin + count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_has_room_for_a_whole_head_and_little_until_more_comes() {
        let mut input = Input::default();
        assert_eq!(input.room().len(), INPUT_BYTES);
        let mut came = 0;
        while came < HEAD_BYTES {
            let room = input.room().len();
            assert!(room > 0 && came + room <= HEAD_BYTES);
            input.came(room);
            came += room;
        }
        assert_eq!((input.bytes().len(), input.room().len()), (HEAD_BYTES, 0));
        input.consume(HEAD_BYTES);
        assert_eq!(input.room().len(), HEAD_BYTES);
        assert!(input.bytes().is_empty());
    }
}
