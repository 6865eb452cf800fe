/// FNV-1a, 64 bits: the same on every machine and with every compiler, which the standard library's hashers do not promise. Shared
/// by the build script (which hashes the shaders) and `src/device/cache.rs`.
pub const fn fnv1a(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    hash
}

/// The hash of nothing.
pub const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
