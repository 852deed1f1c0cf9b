//! Proof that nothing in the image panics.

unsafe extern "C" {
    /// Defined nowhere.
    safe fn bpftime_image_would_panic() -> !;
}

/// Refers to an undefined symbol: if the optimiser leaves any panic in, the image does not link.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    bpftime_image_would_panic()
}
