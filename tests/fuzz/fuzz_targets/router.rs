#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ember_gateway::http::fuzz::router(bytes));
