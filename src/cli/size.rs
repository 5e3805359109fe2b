//! Sizes of files as people read them. Never: what is measured.

/// `12 bytes`, `4.0 KiB`, `118.2 MiB`, `3.5 GiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let power = (bytes.ilog2() / 10).min(4);
    let unit = UNITS[power as usize - 1];
    let below = 1u64 << (10 * (power - 1));
    let tenths = bytes / below * 10 / 1024;
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_the_unit_that_fits() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (4096, "4.0 KiB"),
            (1024 * 1024 - 1, "1023.9 KiB"),
            (123_952_128, "118.2 MiB"),
            (5 << 40, "5.0 TiB"),
            (5 << 50, "5120.0 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
