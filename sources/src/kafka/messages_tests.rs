//! Requests to the byte, answers, and that no answer breaks the reading of it.

use proptest::prelude::*;

use super::*;

fn places(pairs: &[(&str, &[i32])]) -> Places {
    pairs.iter().map(|(topic, partitions)| ((*topic).to_owned(), partitions.to_vec())).collect()
}

#[test]
fn a_frame_is_a_header_and_a_body() {
    let frame = metadata(&["ab".to_owned()]).frame(7);
    let wanted = [
        &27_i32.to_be_bytes()[..],
        &[0, 3, 0, 4, 0, 0, 0, 7, 0, 8],
        b"windlass",
        &[0, 0, 0, 1, 0, 2],
        b"ab",
        // no topic is ever created
        &[0],
    ]
    .concat();
    assert_eq!(frame, wanted);
}

#[test]
fn ends_are_high_watermarks() {
    let frame = list_offsets(&places(&[("t", &[3])])).frame(0);
    let body = &frame[4 + 18..];
    let wanted = [&[0xff; 4][..], &[0], &[0, 0, 0, 1, 0, 1], b"t", &[0, 0, 0, 1, 0, 0, 0, 3], &[0xff; 8]].concat();
    assert_eq!(body, wanted);
}

#[test]
fn many_groups_are_one_flexible_request() {
    let groups = [("g".to_owned(), None), ("h".to_owned(), Some(places(&[("t", &[1])])))];
    let frame = offset_fetch(&groups, true).frame(1);
    // The header has the tagged fields of the flexible form, and the older form's string.
    assert_eq!(&frame[4..23], &[&[0, 9, 0, 8, 0, 0, 0, 1, 0, 8][..], b"windlass", &[0]].concat());
    let wanted = [&[3, 2][..], b"g", &[0, 0, 2], b"h", &[2, 2], b"t", &[2, 0, 0, 0, 1, 0, 0], &[0, 0]].concat();
    assert_eq!(&frame[23..], wanted);
}

#[test]
fn commits_of_both_forms() {
    let groups = [("g".to_owned(), None)];
    let commit = |partition: i32, offset: i64, code: i16| (partition, offset, code);
    for many in [false, true] {
        let mut writer = Writer::new(many);
        writer.end();
        writer.i32(0);
        if many {
            writer.length(Some(1));
            writer.string("g");
        }
        writer.length(Some(1));
        writer.string("t");
        writer.length(Some(3));
        for (partition, offset, code) in [commit(0, 5, 0), commit(1, -1, 0), commit(2, -1, 29)] {
            writer.i32(partition);
            writer.i64(offset);
            if many {
                writer.i32(-1);
            }
            writer.string("note");
            writer.i16(code);
            writer.end();
        }
        writer.end();
        writer.i16(0);
        writer.end();
        writer.end();
        let bytes = writer.into_bytes();
        let wanted = BTreeMap::from([(0, Ok(Some(5))), (1, Ok(None)), (2, Err(Code(29)))]);
        let answers = read_offset_fetch(&bytes, &groups, many).expect("well formed");
        assert_eq!(answers, [("g".to_owned(), Ok(Commits::from([("t".to_owned(), wanted)])))]);
    }
}

#[test]
fn a_partition_without_a_leader_says_so() {
    let mut writer = Writer::new(false);
    writer.i32(0);
    writer.length(Some(1));
    writer.i32(1);
    writer.string("host");
    writer.i32(9092);
    writer.i16(-1);
    writer.i16(-1);
    writer.i32(1);
    writer.length(Some(2));
    for (code, name) in [(0, "t"), (3, "missing")] {
        writer.i16(code);
        writer.string(name);
        writer.i8(0);
        let partitions: &[(i16, i32)] = if code == 0 { &[(0, 1), (9, 1), (5, -1), (0, -1)] } else { &[] };
        writer.length(Some(partitions.len()));
        for (index, (code, leader)) in partitions.iter().enumerate() {
            writer.i16(*code);
            writer.i32(index as i32);
            writer.i32(*leader);
            writer.length(Some(1));
            writer.i32(1);
            writer.length(Some(0));
        }
    }
    let read = read_metadata(&writer.into_bytes()).expect("well formed");
    assert_eq!(read.brokers, [(1, "host".to_owned(), 9092)]);
    let none = Err(Code::LEADER_NOT_AVAILABLE);
    let leaders = BTreeMap::from([(0, Ok(1)), (1, Ok(1)), (2, none), (3, none)]);
    assert_eq!(read.topics, [("t".to_owned(), Ok(leaders)), ("missing".to_owned(), Err(Code::UNKNOWN_TOPIC))]);
}

proptest! {
    #[test]
    fn no_answer_breaks_the_reading(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(0xff)], 0..200)) {
        let groups = ["g".to_owned()];
        let wanted = [("g".to_owned(), None)];
        let _ = read_api_versions(&bytes);
        let _ = read_sasl_handshake(&bytes);
        let _ = read_sasl_authenticate(&bytes);
        let _ = read_metadata(&bytes);
        let _ = read_list_offsets(&bytes);
        for many in [false, true] {
            let _ = read_find_coordinator(&bytes, &groups, many);
            let _ = read_offset_fetch(&bytes, &wanted, many);
        }
    }
}
