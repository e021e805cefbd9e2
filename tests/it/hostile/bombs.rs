//! Bytes that unpack to more than they are, and what they cost us.

/// Compresses a gigabyte of zeros by hand: a fixed-Huffman block (RFC 1951 §3.2.6) that says "258 bytes
/// as the one before" four million times.
pub fn gzip_bomb() -> Vec<u8> {
    const COPIES: usize = (1 << 30) / 258;
    let mut bits = Bits { out: gzip_head(), held: 0, count: 0 };
    bits.push(0b011, 3); // the last block; fixed codes, least significant bit first
    bits.push_code(0b0011_0000, 8); // the literal 0
    for _ in 0..COPIES {
        bits.push_code(0b1100_0101, 8); // length 258
        bits.push_code(0, 5); // distance 1
    }
    bits.push_code(0, 7); // the end
    bits.push(0, 7);
    bits.out
}

/// A good head, and a block of a type that does not exist.
pub fn corrupt_gzip() -> Vec<u8> {
    [gzip_head(), vec![0xff; 64]].concat()
}

fn gzip_head() -> Vec<u8> {
    vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]
}

struct Bits {
    out: Vec<u8>,
    held: u64,
    count: u32,
}

impl Bits {
    fn push(&mut self, bits: u64, count: u32) {
        self.held |= bits << self.count;
        self.count += count;
        while self.count >= 8 {
            self.out.push(self.held.to_le_bytes()[0]);
            self.held >>= 8;
            self.count -= 8;
        }
    }

    /// Huffman codes stand most significant bit first.
    fn push_code(&mut self, code: u64, count: u32) {
        self.push(code.reverse_bits() >> (64 - count), count);
    }
}

/// The most memory that this process ever held; 0 where the system does not tell.
pub fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|text| text.trim().trim_end_matches(" kB").trim().parse().ok()).unwrap_or(0)
}
