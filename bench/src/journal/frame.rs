//! The bytes of one round.

const HEADER_BYTES: usize = 64;
pub(crate) const PAGE_BYTES: usize = 4096;

/// One journal frame: a header, then a payload of incompressible bytes. It starts at a page boundary in memory and is
/// followed by zeros up to the next one, so that it can be written whole pages at a time, past the page cache too.
pub(crate) struct Frame {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Frame {
    pub fn with_payload(payload_bytes: usize) -> Self {
        let len = HEADER_BYTES + payload_bytes;
        let mut memory = vec![0; len.next_multiple_of(PAGE_BYTES) + PAGE_BYTES];
        let start = memory.as_ptr().align_offset(PAGE_BYTES);
        fill_with_noise(&mut memory[start..start + len]);
        Frame { memory, start, len }
    }

    /// Exactly the frame.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    /// The frame and its padding.
    pub fn whole_pages(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len.next_multiple_of(PAGE_BYTES)]
    }

    /// What is copied into the stores, in `count` parts of nearly equal size.
    pub fn parts(&self, count: usize) -> impl Iterator<Item = &[u8]> {
        let payload = &self.bytes()[HEADER_BYTES..];
        payload.chunks(payload.len().div_ceil(count))
    }
}

/// xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled" (2016).
fn fill_with_noise(bytes: &mut [u8]) {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for chunk in bytes.chunks_mut(8) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let word = state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}
