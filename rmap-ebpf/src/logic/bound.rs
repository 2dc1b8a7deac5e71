//! Limits of numbers that the verifier of every kernel sees.
//!
//! The compiler compares one copy of a number, often of 32 bits, and goes on with another one.
//! Verifiers before 6.8 do not carry the limit over to it and refuse the read whose length it is
//! ("R2 unbounded memory access"). What is compared here is the very register that comes out.

/// The number, or 0 where it is more than `MOST`.
#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
#[must_use]
pub const fn at_most<const MOST: u32>(number: u64) -> u64 {
    if number > MOST as u64 { 0 } else { number }
}

/// The number, or 0 where it is more than `MOST`. Written in assembly, so that the compiler cannot
/// compare another register.
#[inline(always)]
#[cfg(target_arch = "bpf")]
#[must_use]
pub fn at_most<const MOST: u32>(number: u64) -> u64 {
    let mut bounded = number;
    // SAFETY: a comparison of one register, which is set to 0 or stays as it is.
    unsafe {
        core::arch::asm!(
            "if {0} > {most} goto +1",
            "goto +1",
            "{0} = 0",
            inout(reg) bounded,
            most = const MOST,
            options(pure, nomem, nostack),
        );
    }
    bounded
}

/// The index, of which the compiler knows nothing from here on: what limits it next stays in the
/// code, though the compiler would have seen that it is not needed.
#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
#[must_use]
pub const fn unknown(index: u32) -> usize {
    index as usize
}

/// The index, of which the compiler knows nothing from here on: what limits it next stays in the
/// code, though the compiler would have seen that it is not needed.
#[inline(always)]
#[cfg(target_arch = "bpf")]
#[must_use]
pub fn unknown(index: u32) -> usize {
    let mut same = index as usize;
    // SAFETY: no instruction at all.
    unsafe { core::arch::asm!("/* {0} */", inout(reg) same, options(pure, nomem, nostack)) };
    same
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_beyond_the_limit_is_nothing() {
        assert_eq!(at_most::<320>(0), 0);
        assert_eq!(at_most::<320>(320), 320);
        assert_eq!(at_most::<320>(321), 0);
        assert_eq!(at_most::<320>(u64::MAX), 0);
    }
}
