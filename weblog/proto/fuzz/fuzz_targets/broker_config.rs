//! A configuration from the control socket. Whatever is taken can be sent again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weblog_proto::BrokerConfig;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(config) = BrokerConfig::from_bytes(bytes) {
        let again = config.to_bytes().expect("what is taken can be sent");
        assert_eq!(BrokerConfig::from_bytes(&again).as_ref(), Ok(&config));
    }
});
