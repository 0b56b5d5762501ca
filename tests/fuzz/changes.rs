//! Seeds and what becomes of them, the same in every run.

use std::fs;
use std::path::Path;

/// No copy grows beyond this.
const LONGEST: usize = 16 * 1024;
/// Pieces that readers stumble over.
const PIECES: [&[u8]; 40] = [
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"-0",
    b"1e999",
    b"99999999999999999999",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"\r\n",
    b"@",
    b"#",
    b"//",
    b"%2e",
    b"%00",
    b"[::1]",
    b"0x7f.1",
    b"127.1",
    b"\xe3\x80\x82",
    b"=",
    b"'",
    b"\"\"\"",
    b"[[",
    b"1s",
    b"GiB",
    b"-1",
    b"NaN",
    b"true",
    b"GMT",
    b"\x1b[31m",
    b"*",
];

/// Numbers that look random and are the same in every run (an xorshift of 64 bits).
pub struct Numbers(u64);

impl Numbers {
    /// Others for each lane.
    pub fn of_lane(lane: u64) -> Self {
        Self(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(2 * lane + 1))
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }
}

/// How many cases to run, unless the environment says otherwise.
pub fn cases(few: u64) -> u64 {
    std::env::var("FUZZ_CASES").map_or(few, |text| text.parse().expect("a number in FUZZ_CASES"))
}

/// What a target begins with.
pub fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// A copy of one seed with a few changes, some of them taken from another.
pub fn changed(seeds: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let mut data = seeds[numbers.below(seeds.len())].clone();
    for _ in 0..=numbers.below(6) {
        let at = numbers.below(data.len() + 1);
        let end = (at + numbers.below(16)).min(data.len());
        match numbers.below(7) {
            0 => drop(data.drain(at..end)),
            1 => data.extend_from_within(at..end),
            2 => drop(data.splice(at..at, PIECES[numbers.below(PIECES.len())].iter().copied())),
            3 => drop(data.splice(at..end, PIECES[numbers.below(PIECES.len())].iter().copied())),
            4 => {
                let other = &seeds[numbers.below(seeds.len())];
                let from = numbers.below(other.len() + 1);
                let to = (from + numbers.below(64)).min(other.len());
                drop(data.splice(at..at, other[from..to].iter().copied()));
            }
            5 => data[at..end].iter_mut().for_each(|byte| *byte = numbers.next().to_le_bytes()[0]),
            _ => data[at..end].iter_mut().for_each(|byte| *byte ^= 1 << (numbers.next() % 8)),
        }
    }
    data.truncate(LONGEST);
    data
}
