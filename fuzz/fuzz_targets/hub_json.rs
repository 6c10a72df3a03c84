//! Any bytes as a hub message in JSON.

#![no_main]

use libfuzzer_sys::fuzz_target;
use signalr_protocol::HubProtocol;

fuzz_target!(|payload: &[u8]| chappe_fuzz::hub::check(HubProtocol::Json, payload));
