//! Random bits from the operating system, fetched in blocks so that the writer pays for one call in many.

use super::error::StorageError;

const BLOCK_BYTES: usize = 1024;

/// A buffer of random bytes; one owner, one thread.
pub struct Randomness {
    block: [u8; BLOCK_BYTES],
    used: usize,
}

impl Randomness {
    /// Begins with an empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self { block: [0; BLOCK_BYTES], used: BLOCK_BYTES }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], StorageError> {
        if self.used + N > BLOCK_BYTES {
            getrandom::fill(&mut self.block).map_err(|error| StorageError::Randomness(error.to_string()))?;
            self.used = 0;
        }
        let mut bytes = [0; N];
        if let Some(source) = self.block.get(self.used..self.used + N) {
            bytes.copy_from_slice(source);
        }
        self.used += N;
        Ok(bytes)
    }

    /// 128 random bits.
    pub fn next_u128(&mut self) -> Result<u128, StorageError> {
        self.take().map(u128::from_le_bytes)
    }

    /// 32 random bits.
    pub fn next_u32(&mut self) -> Result<u32, StorageError> {
        self.take().map(u32::from_le_bytes)
    }
}

impl Default for Randomness {
    fn default() -> Self {
        Self::new()
    }
}
