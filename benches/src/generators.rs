//! Counter-based generators that were candidates for the named draws: 128 bits of key and the name (entity, index)
//! to 64 random bits. Constants are those of Random123 and of the papers named.

/// Philox2x64 with `ROUNDS` rounds (Salmon et al., SC 2011); half of the key offsets the counter.
#[inline(always)]
pub fn philox2x64<const ROUNDS: u32>(key: [u64; 2], entity: u64, index: u64) -> u64 {
    let (mut left, mut right, mut round_key) = (entity, index ^ key[1], key[0]);
    for _ in 0..ROUNDS {
        let product = u128::from(left) * 0xD2B7_4407_B1CE_6E93;
        left = (product >> 64) as u64 ^ round_key ^ right;
        right = product as u64;
        round_key = round_key.wrapping_add(0x9E37_79B9_7F4A_7C15);
    }
    left
}

/// Philox4x32-10 (Salmon et al., SC 2011); half of the key offsets the counter.
#[inline(always)]
pub fn philox4x32(key: [u64; 2], entity: u64, index: u64) -> u64 {
    let index = index ^ key[1];
    let mut c = [entity as u32, (entity >> 32) as u32, index as u32, (index >> 32) as u32];
    let mut k = [key[0] as u32, (key[0] >> 32) as u32];
    for _ in 0..10 {
        let (a, b) = (u64::from(c[0]) * 0xD251_1F53, u64::from(c[2]) * 0xCD9E_8D57);
        c = [(b >> 32) as u32 ^ c[1] ^ k[0], b as u32, (a >> 32) as u32 ^ c[3] ^ k[1], a as u32];
        k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
    }
    u64::from(c[0]) | u64::from(c[1]) << 32
}

/// Threefry2x64 with `ROUNDS` rounds (Salmon et al., SC 2011): the key is 128 bits, as here.
#[inline(always)]
pub fn threefry2x64<const ROUNDS: usize>(key: [u64; 2], entity: u64, index: u64) -> u64 {
    const ROTATIONS: [u32; 8] = [16, 42, 12, 31, 16, 32, 24, 21];
    let keys = [key[0], key[1], 0x1BD1_1BDA_A9FC_1A22 ^ key[0] ^ key[1]];
    let (mut a, mut b) = (entity.wrapping_add(keys[0]), index.wrapping_add(keys[1]));
    for round in 0..ROUNDS {
        a = a.wrapping_add(b);
        b = b.rotate_left(ROTATIONS[round % 8]) ^ a;
        if round % 4 == 3 {
            let injection = round / 4 + 1;
            a = a.wrapping_add(keys[injection % 3]);
            b = b.wrapping_add(keys[(injection + 1) % 3]).wrapping_add(injection as u64);
        }
    }
    a
}

/// Squares64 (Widynski, "Squares: A Fast Counter-Based RNG", arXiv 2004.06278v7), five rounds. Its counter has 64
/// bits, so entity and index share them: names would have to be small.
#[inline(always)]
pub fn squares64(key: [u64; 2], entity: u64, index: u64) -> u64 {
    let y = (entity << 32 | index).wrapping_mul(key[0]);
    let z = y.wrapping_add(key[0]);
    let round = |x: u64, add: u64| x.wrapping_mul(x).wrapping_add(add);
    let x = round(y, y).rotate_left(32);
    let x = round(x, z).rotate_left(32);
    let x = round(x, y).rotate_left(32);
    let t = round(x, z);
    t ^ round(t.rotate_left(32), y) >> 32
}

/// SipHash-1-3 (Aumasson & Bernstein, INDOCRYPT 2012, with the rounds of Rust's and Python's hash tables) of the two
/// words of the name.
#[inline(always)]
pub fn siphash13(key: [u64; 2], entity: u64, index: u64) -> u64 {
    let mut v = [
        key[0] ^ 0x736F_6D65_7073_6575,
        key[1] ^ 0x646F_7261_6E64_6F6D,
        key[0] ^ 0x6C79_6765_6E65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    let round = |v: &mut [u64; 4]| {
        v[0] = v[0].wrapping_add(v[1]);
        v[2] = v[2].wrapping_add(v[3]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[1]);
        v[0] = v[0].wrapping_add(v[3]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].rotate_left(32);
    };
    for word in [entity, index, 16 << 56] {
        v[3] ^= word;
        round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xFF;
    (0..3).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random123, `tests/kat_vectors`: with a key whose second half is zero the counter is the name.
    #[test]
    fn candidates_give_the_known_answers_of_their_authors() {
        assert_eq!(philox2x64::<10>([0; 2], 0, 0), 0xca00_a045_9843_d731);
        assert_eq!(philox4x32([0; 2], 0, 0), 0xe169_c58d_6627_e8d5);
        assert_eq!(threefry2x64::<20>([0; 2], 0, 0), 0xc2b6_e3a8_c2c6_9865);
        assert_eq!(threefry2x64::<13>([0; 2], 0, 0), 0xf167_b032_c3b4_80bd);
    }
}
