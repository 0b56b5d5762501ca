//! Random bits from the operating system, fetched in blocks to save system calls. A simulation supplies a seed instead
//! and gets reproducible bits.

use super::error::StorageError;

const BLOCK_BYTES: usize = 1024;

/// A buffer of random bytes, used by one thread.
pub struct Randomness {
    block: [u8; BLOCK_BYTES],
    used: usize,
    /// A simulation's seed.
    seed: Option<u64>,
}

impl Randomness {
    /// Starts with an empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self { block: [0; BLOCK_BYTES], used: BLOCK_BYTES, seed: None }
    }

    /// Reproducible bits from a seed. For simulations only: they are predictable.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self { seed: Some(seed), ..Self::new() }
    }

    fn refill(&mut self) -> Result<(), StorageError> {
        if let Some(seed) = &mut self.seed {
            for bytes in self.block.chunks_exact_mut(size_of::<u64>()) {
                bytes.copy_from_slice(&next_simulated(seed).to_le_bytes());
            }
        } else {
            getrandom::fill(&mut self.block).map_err(|error| StorageError::Randomness(error.to_string()))?;
        }
        self.used = 0;
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], StorageError> {
        if self.used + N > BLOCK_BYTES {
            self.refill()?;
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

/// A mixed counter.
fn next_simulated(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*seed ^ (*seed >> 31)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 32)
}
