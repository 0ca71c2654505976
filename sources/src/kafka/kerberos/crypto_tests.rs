//! The test vectors of RFC 3961, RFC 3962 and RFC 8009.

use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let text: String = text.to_ascii_lowercase().split_whitespace().collect();
    HEXLOWER.decode(text.as_bytes()).expect("hexadecimal digits")
}

fn key(etype: Etype, bytes: &str) -> Key {
    Key::new(etype, &hex(bytes)).expect("a key of the right length")
}

#[test]
fn constants_are_folded() {
    assert_eq!(n_fold(b"kerberos")[..], hex("6b65726265726f737b9b5b2b93132b93"));
    // Shorter than a block, longer, and of no common length with it.
    assert_eq!(n_fold(b"kerberos"), n_fold(b"kerberos"));
    assert_eq!(n_fold(&[0; 5]), [0; 16]);
    assert_eq!(n_fold(&[0xff; 21]), [0xff; 16]);
}

#[test]
fn passwords_become_keys() {
    let of = |etype, password: &[u8], salt: &[u8], iterations: u32| {
        let key = Key::of_password(etype, password, salt, Some(&iterations.to_be_bytes())).expect("a key");
        HEXLOWER.encode(key.expose())
    };
    let salt = b"ATHENA.MIT.EDUraeburn";
    let table = [
        (1, "42263c6e89f4fc28b8df68ee09799f15", "fe697b52bc0d3ce14432ba036a92e65bbb52280990a2fa27883998d72af30161"),
        (2, "c651bf29e2300ac27fa469d693bdda13", "a2e16d16b36069c135d5e9d2e25f896102685618b95914b467c67622225824ff"),
        (1200, "4c01cd46d632d01e6dbe230a01ed642a", "55a6ac740ad17b4846941051e1e8b0a7548d93b0ab30a8bc3ff16280382b8c2a"),
    ];
    for (iterations, short, long) in table {
        assert_eq!(of(Etype::Aes128Sha1, b"password", salt, iterations), short);
        assert_eq!(of(Etype::Aes256Sha1, b"password", salt, iterations), long);
    }
    let salt = [&hex("10DF9DD783E5BC8ACEA1730E74355F61")[..], salt].concat();
    let short = "089bca48b105ea6ea77ca5d2f39dc5e7";
    let long = "45bd806dbf6a833a9cffc1c94589a222367a79bc21c413718906e9f578a78467";
    assert_eq!(of(Etype::Aes128Sha2, b"password", &salt, 32_768), short);
    assert_eq!(of(Etype::Aes256Sha2, b"password", &salt, 32_768), long);
    let usual = Key::of_password(Etype::Aes128Sha2, b"password", &salt, None).expect("a key");
    assert_eq!(HEXLOWER.encode(usual.expose()), short);
}

#[test]
fn nobody_keeps_us_busy_with_a_password() {
    let of = |parameters: &[u8]| Key::of_password(Etype::Aes256Sha1, b"password", b"salt", Some(parameters)).is_ok();
    assert!(of(&4096_u32.to_be_bytes()));
    for bad in [&0_u32.to_be_bytes()[..], &(MAX_ITERATIONS + 1).to_be_bytes(), &u32::MAX.to_be_bytes(), &[1], &[]] {
        assert!(!of(bad), "{bad:?}");
    }
}

#[test]
fn a_block_is_stolen_from_as_rfc_3962_says() {
    let key = key(Etype::Aes128Sha1, "636869636b656e207465726979616b69");
    let text = b"I would like the General Gau's Chicken, please, and wonton soup.";
    let table = [
        (17, "c6353568f2bf8cb4d8a580362da7ff7f97"),
        (31, "fc00783e0efdb2c1d445d4c8eff7ed2297687268d6ecccc0c07b25e25ecfe5"),
        (32, "39312523a78662d5be7fcbcc98ebf5a897687268d6ecccc0c07b25e25ecfe584"),
        (47, "97687268d6ecccc0c07b25e25ecfe584b3fffd940c16a18c1b5549d2f838029e39312523a78662d5be7fcbcc98ebf5"),
        (48, "97687268d6ecccc0c07b25e25ecfe5849dad8bbb96c4cdc03bc103e1a194bbd839312523a78662d5be7fcbcc98ebf5a8"),
        (
            64,
            "97687268d6ecccc0c07b25e25ecfe58439312523a78662d5be7fcbcc98ebf5a84807efe836ee89a526730dbc2f7bc8409dad8bbb96c4\
             cdc03bc103e1a194bbd8",
        ),
    ];
    for (length, sealed) in table {
        assert_eq!(key.encrypt_cts(key.expose(), &text[..length]).expect("encrypted"), hex(sealed), "{length}");
        assert_eq!(key.decrypt_cts(key.expose(), &hex(sealed)).expect("decrypted"), &text[..length], "{length}");
    }
}

#[test]
fn keys_are_derived_as_rfc_8009_says() {
    let short = key(Etype::Aes128Sha2, "3705D96080C17728A0E800EAB6E0D23C");
    let long = key(Etype::Aes256Sha2, "6D404D37FAF79F9DF0D33568D320669800EB4836472EA8A026D16B7182460C52");
    // All of them for the usage 2, which has no name here.
    let of = |key: &Key, which: Derived, length| key.derive(&[0, 0, 0, 2, which as u8], length).expect("derived");
    assert_eq!(of(&short, Derived::Checksum, 16), hex("B31A018A48F54776F403E9A396325DC3"));
    assert_eq!(of(&short, Derived::Encryption, 16), hex("9B197DD1E8C5609D6E67C3E37C62C72E"));
    assert_eq!(of(&short, Derived::Integrity, 16), hex("9FDA0E56AB2D85E1569A688696C26A6C"));
    assert_eq!(of(&long, Derived::Checksum, 24), hex("EF5718BE86CC84963D8BBB5031E9F5C4BA41F28FAF69E73D"));
    assert_eq!(
        of(&long, Derived::Encryption, 32),
        hex("56AB22BEE63D82D7BC5227F6773F8EA7A5EB1C825160C38312980C442E5C7E49")
    );
    assert_eq!(of(&long, Derived::Integrity, 24), hex("69B16514E3CD8E56B82010D5C73012B622C4D00FFC23ED1F"));
}

#[test]
fn messages_are_sealed_as_rfc_8009_says() {
    let short = key(Etype::Aes128Sha2, "3705D96080C17728A0E800EAB6E0D23C");
    let long = key(Etype::Aes256Sha2, "6D404D37FAF79F9DF0D33568D320669800EB4836472EA8A026D16B7182460C52");
    let plain: Vec<u8> = (0..21).collect();
    let table = [
        (
            &short,
            0,
            "7e5895eaf2672435bad817f545a37148",
            "ef85fb890bb8472f4dab20394dca781dad877eda39d50c870c0d5a0a8e48c718",
        ),
        (
            &short,
            6,
            "7bca285e2fd4130fb55b1a5c83bc5b24",
            "84d7f30754ed987bab0bf3506beb09cfb55402cef7e6877ce99e247e52d16ed4421dfdf8976c",
        ),
        (
            &short,
            16,
            "56ab21713ff62c0a1457200f6fa9948f",
            "3517d640f50ddc8ad3628722b3569d2ae07493fa8263254080ea65c1008e8fc295fb4852e7d83e1e7c48c37eebe6b0d3",
        ),
        (
            &short,
            21,
            "a7a4e29a4728ce10664fb64e49ad3fac",
            "720f73b18d9859cd6ccb4346115cd336c70f58edc0c4437c5573544c31c813bce1e6d072c186b39a413c2f92ca9b8334a287ffcbfc",
        ),
        (
            &long,
            0,
            "f764e9fa15c276478b2c7d0c4e5f58e4",
            "41f53fa5bfe7026d91faf9be959195a058707273a96a40f0a01960621ac612748b9bbfbe7eb4ce3c",
        ),
        (
            &long,
            6,
            "b80d3251c1f6471494256ffe712d0b9a",
            "4ed7b37c2bcac8f74f23c1cf07e62bc7b75fb3f637b9f559c7f664f69eab7b6092237526ea0d1f61cb20d69d10f2",
        ),
        (
            &long,
            16,
            "53bf8a0d105265d4e276428624ce5e63",
            "bc47ffec7998eb91e8115cf8d19dac4bbbe2e163e87dd37f49beca92027764f68cf51f14d798c2273f35df574d1f932e40c4ff255b36a266",
        ),
        (
            &long,
            21,
            "763e65367e864f02f55153c7e3b58af1",
            "40013e2df58e8751957d2878bcd2d6fe101ccfd556cb1eae79db3c3ee86429f2b2a602ac86fef6ecb647d6295fae077a1feb517508d2c16b4192e01f62",
        ),
    ];
    for (key, length, confounder, sealed) in table {
        let confounder = hex(confounder).try_into().expect("a block");
        assert_eq!(key.encrypt_with(Usage::Ticket, confounder, &plain[..length]).expect("sealed"), hex(sealed));
        assert_eq!(key.decrypt(Usage::Ticket, &hex(sealed)).expect("opened"), &plain[..length]);
    }
    assert_eq!(short.checksum(Usage::Ticket, &plain).expect("a checksum"), hex("d78367186643d67b411cba9139fc1dee"));
    assert_eq!(
        long.checksum(Usage::Ticket, &plain).expect("a checksum"),
        hex("45ee791567eefca37f4ac1e0222de80d43c3bfa06699672a")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_sealed_opens_and_what_is_forged_does_not(plain: Vec<u8>, etype in 0..4_usize, place: prop::sample::Index, flip in 1..=255_u8) {
        let etype = Etype::ALL[etype];
        let key = Key::random(etype).expect("a key");
        let sealed = key.encrypt(Usage::AsReply, &plain).expect("sealed");
        prop_assert_eq!(sealed.len(), BLOCK + plain.len() + etype.hash_len());
        prop_assert_eq!(&key.decrypt(Usage::AsReply, &sealed).expect("opened"), &plain);
        prop_assert!(key.decrypt(Usage::TgsReply, &sealed).is_err());
        let mut forged = sealed;
        let place = place.index(forged.len());
        forged[place] ^= flip;
        prop_assert!(key.decrypt(Usage::AsReply, &forged).is_err());
        prop_assert!(key.decrypt(Usage::AsReply, &plain).is_err());
        let checksum = key.checksum(Usage::TgsChecksum, &plain).expect("a checksum");
        prop_assert!(key.verify(Usage::TgsChecksum, &plain, &checksum).is_ok());
        prop_assert!(key.verify(Usage::AcceptorSeal, &plain, &checksum).is_err());
    }
}
