#![no_main]

use ember_gateway::{meter, registry, store};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    registry::fuzz::records(bytes);
    meter::fuzz::records(bytes);
    store::fuzz::rows(bytes);
});
