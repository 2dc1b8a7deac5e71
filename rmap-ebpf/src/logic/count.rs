//! Adding to a counter that others on the same CPU may add to in the middle.

/// Adds at once. The compiler has no atomic operations for BPF, the kernel has this one.
///
/// # Safety
/// `value` is an aligned counter that lives as long as the call, and is changed by such additions
/// alone.
#[inline(always)]
#[cfg(target_arch = "bpf")]
pub unsafe fn add(value: *mut u64, amount: u64) {
    // SAFETY: the caller says that the counter may be written.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) value, in(reg) amount, options(nostack));
    }
}

/// Adds at once.
///
/// # Safety
/// `value` is an aligned counter that lives as long as the call, and is changed by such additions
/// alone.
#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
pub unsafe fn add(value: *mut u64, amount: u64) {
    use core::sync::atomic::{AtomicU64, Ordering};
    // SAFETY: as the caller says.
    unsafe { AtomicU64::from_ptr(value) }.fetch_add(amount, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_adds() {
        let mut value = 40;
        // SAFETY: this test's own variable.
        unsafe { super::add(&raw mut value, 2) };
        assert_eq!(value, 42);
    }
}
