//! What may lie in a reply pipe, packet by packet, up to the seal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weblog_proto::{Assembler, OneTimeKey, Packet, parse_packet};

fuzz_target!(|packets: Vec<Vec<u8>>| {
    let parsed: Vec<_> = packets.iter().filter_map(|p| parse_packet(p).ok()).collect();
    let Some(id) = parsed.iter().find_map(|p| match p {
        Packet::Part { id, index, total, bytes } => {
            assert!(index < total && *total <= 4 && !bytes.is_empty());
            Some(*id)
        }
        Packet::Hello { .. } => None,
    }) else {
        return;
    };
    let mut assembler = Assembler::new(id);
    for packet in &parsed {
        if assembler.push(packet).is_err() {
            return;
        }
    }
    assert!(assembler.open(&OneTimeKey::new(&[1; 16])).is_err(), "nobody sealed it");
});
