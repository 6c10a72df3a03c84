use clap::ValueEnum;

use super::*;

#[test]
fn a_padded_message_has_the_length_of_the_frame() {
    for peer in Peer::value_variants() {
        for frame_bytes in [100, 130, 1_028, 16_388, 70_000] {
            let [before, after] = peer.around();
            let text = peer.text(frame_bytes).expect("the length can be");
            let payload = [before, &text, after].concat();
            let frame = [frame_head(payload.len()), payload.into_bytes()].concat();
            assert_eq!(frame.len(), frame_bytes, "{peer:?}");
            assert_eq!(frame.iter().filter(|byte| **byte == MARK).count(), 1, "{peer:?}");
        }
    }
}

#[test]
fn impossible_frame_lengths_are_rejected() {
    for frame_bytes in [0, 1, 128, 129, 65_540, 65_545] {
        assert!(payload_bytes(frame_bytes).is_err(), "{frame_bytes}");
    }
    for (frame_bytes, expected) in [(2, 0), (127, 125), (130, 126), (65_539, 65_535), (65_546, 65_536)] {
        assert_eq!(payload_bytes(frame_bytes).expect("the length can be"), expected);
    }
}

#[test]
fn ambiguous_frame_lengths_are_rejected() {
    // A payload of 35 bytes has the mark as its length, and so does one of 35 times 256.
    assert!(Peer::Ws.text(37).is_err());
    assert!(Peer::Ws.text(35 * 256 + 4).is_err());
    // Nine messages in one frame of Centrifugo are 9,188 bytes, which is 0x23e4.
    assert!(Peer::Ws.text(1_024).is_ok());
    assert!(Peer::Centrifugo.text(1_024).is_err());
}

#[test]
fn messages_larger_than_the_frame_are_rejected() {
    assert!(Peer::Ws.text(3).is_ok());
    assert!(Peer::Ws.text(2).is_err());
    assert!(Peer::Centrifugo.text(50).is_err());
}

#[test]
fn a_frame_header_equals_that_of_the_websocket_codec() {
    for length in [0, 125, 126, 65_535, 65_536] {
        let ours = websocket::frame(websocket::Opcode::Text, &vec![b'x'; length]);
        assert!(ours.starts_with(&frame_head(length)), "{length}");
        assert_eq!(ours.len(), frame_head(length).len() + length);
    }
}
