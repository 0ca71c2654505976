//! A keytab: keys of principals in MIT's file format (version 2), and of those the ones of one principal. It shows no key, and
//! believes no length that the file could not hold.

use data_encoding::BASE64;

use crate::Secret;

/// The kinds of keys that are used: AES, with SHA-1 or SHA-2. In the order in which MIT's and Java's clients prefer them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Etype {
    /// `aes256-cts-hmac-sha1-96`
    Aes256Sha1,
    /// `aes128-cts-hmac-sha1-96`
    Aes128Sha1,
    /// `aes256-cts-hmac-sha384-192`
    Aes256Sha2,
    /// `aes128-cts-hmac-sha256-128`
    Aes128Sha2,
}

impl Etype {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Aes256Sha1, Self::Aes128Sha1, Self::Aes256Sha2, Self::Aes128Sha2];

    /// Its number in the protocol.
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::Aes256Sha1 => 18,
            Self::Aes128Sha1 => 17,
            Self::Aes256Sha2 => 20,
            Self::Aes128Sha2 => 19,
        }
    }

    /// The kind with this number.
    pub(super) fn of(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|etype| i64::from(etype.number()) == number)
    }

    /// How many bytes a key has.
    pub(super) const fn key_len(self) -> usize {
        match self {
            Self::Aes128Sha1 | Self::Aes128Sha2 => 16,
            Self::Aes256Sha1 | Self::Aes256Sha2 => 32,
        }
    }
}

/// One key of the principal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeytabKey {
    /// Its kind.
    pub etype: Etype,
    /// Its version: the KDC counts up with each change.
    pub version: u32,
    /// The key.
    pub key: Secret,
}

/// Why a keytab is of no use, in words that follow its name, with what to do. Never repeats anything of it.
pub(super) type Useless = (&'static str, String);

/// The newest keys of `name` (with its parts) in `realm` that are in a keytab, which may be written in base64, the most preferred
/// first.
pub(super) fn keys(content: &[u8], name: &str, realm: &str) -> Result<Vec<KeytabKey>, Useless> {
    let decoded;
    let file = if content.starts_with(&[5, 2]) {
        content
    } else {
        let text: Vec<u8> = content.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        decoded = BASE64.decode(&text).unwrap_or_default();
        &decoded
    };
    let Some(entries) = file.strip_prefix(&[5, 2]) else {
        let fix =
            "give the file itself, under data of a Secret (kubectl create secret generic --from-file), or its base64";
        return Err(("is no keytab of version 2", fix.to_owned()));
    };
    let all = entries_of(entries, name, realm)
        .ok_or_else(|| ("ends in the middle of an entry", "give the whole file: copy it as binary".to_owned()))?;
    let export = format!("export them anew, for example with kadmin: ktadd -k FILE {name}@{realm}");
    if all.is_empty() {
        return Err(("has no key of username and realm", format!("correct username and realm, or {export}")));
    }
    let mut best: Vec<KeytabKey> = Vec::new();
    for etype in Etype::ALL {
        let fit =
            all.iter().filter(|(number, _, key)| Etype::of(*number) == Some(etype) && key.len() == etype.key_len());
        let newest = fit.max_by_key(|(_, version, _)| *version);
        best.extend(newest.map(|(_, version, key)| KeytabKey {
            etype,
            version: *version,
            key: Secret::of_bytes(key.to_vec()),
        }));
    }
    // A kind that the principal had before, and has no more, is of an older version.
    let newest = best.iter().map(|key| key.version).max();
    best.retain(|key| Some(key.version) == newest);
    if best.is_empty() {
        return Err(("has no AES key of the principal", format!("let it have one at the KDC, and {export}")));
    }
    Ok(best)
}

/// Kind, version and key of each entry of the principal.
fn entries_of<'a>(mut rest: &'a [u8], name: &str, realm: &str) -> Option<Vec<(i64, u32, &'a [u8])>> {
    let mut all = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = i32::from_be_bytes(*length);
        // What follows a zero is left over from a file that was longer.
        if length == 0 {
            break;
        }
        let (entry, after) = after.split_at_checked(usize::try_from(length.unsigned_abs()).ok()?)?;
        rest = after;
        // A negative length is that of a hole.
        if length > 0 {
            let Entry { principal, realm: of, etype, version, key } = Entry::read(entry)?;
            if principal == name.split('/').map(str::as_bytes).collect::<Vec<_>>() && of == realm.as_bytes() {
                all.push((etype, version, key));
            }
        }
    }
    Some(all)
}

struct Entry<'a> {
    principal: Vec<&'a [u8]>,
    realm: &'a [u8],
    etype: i64,
    version: u32,
    key: &'a [u8],
}

impl<'a> Entry<'a> {
    fn read(mut bytes: &'a [u8]) -> Option<Self> {
        let rest = &mut bytes;
        let parts = u16::from_be_bytes(take(rest)?);
        let realm = counted(rest)?;
        let principal = (0..parts).map(|_| counted(rest)).collect::<Option<_>>()?;
        let [_name_type, _written]: [[u8; 4]; 2] = [take(rest)?, take(rest)?];
        let [short_version] = take(rest)?;
        let etype = i64::from(i16::from_be_bytes(take(rest)?));
        let key = counted(rest)?;
        // Only where there is room for it.
        let version = take(rest).map(u32::from_be_bytes).filter(|version| *version > 0);
        Some(Self { principal, realm, etype, version: version.unwrap_or_else(|| short_version.into()), key })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn counted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u16::from_be_bytes(take(rest)?);
    let (head, tail) = rest.split_at_checked(length.into())?;
    *rest = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(parts: &[&str], realm: &str, etype: i16, version: u32, key: &[u8]) -> Vec<u8> {
        let counted = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
        let mut entry = (parts.len() as u16).to_be_bytes().to_vec();
        entry.extend(counted(realm.as_bytes()));
        parts.iter().for_each(|part| entry.extend(counted(part.as_bytes())));
        entry.extend([0, 0, 0, 1, 0, 0, 0, 0, version as u8]);
        entry.extend(etype.to_be_bytes());
        entry.extend(counted(key));
        entry.extend(version.to_be_bytes());
        [&(entry.len() as i32).to_be_bytes()[..], &entry].concat()
    }

    fn file(entries: &[Vec<u8>]) -> Vec<u8> {
        [&[5, 2][..], &entries.concat()].concat()
    }

    fn found(file: &[u8], name: &str) -> Vec<(Etype, u32)> {
        keys(file, name, "RIG").expect("keys").iter().map(|key| (key.etype, key.version)).collect()
    }

    #[test]
    fn the_newest_keys_of_the_principal_and_of_no_other() {
        let hole = [&(-3_i32).to_be_bytes()[..], b"old"].concat();
        let entries = [
            entry(&["reader"], "RIG", 17, 3, &[1; 16]),
            entry(&["reader"], "RIG", 18, 3, &[2; 32]),
            hole,
            entry(&["reader"], "RIG", 18, 300, &[0xfe; 32]),
            entry(&["reader"], "RIG", 20, 300, &[4; 32]),
            entry(&["reader"], "RIG", 23, 300, &[5; 16]),
            entry(&["reader"], "OTHER", 18, 900, &[6; 32]),
            entry(&["reader", "host"], "RIG", 17, 2, &[7; 16]),
        ];
        let file = file(&entries);
        assert_eq!(found(&file, "reader"), [(Etype::Aes256Sha1, 300), (Etype::Aes256Sha2, 300)]);
        assert_eq!(found(&file, "reader/host"), [(Etype::Aes128Sha1, 2)]);
        assert_eq!(keys(&file, "reader", "RIG").expect("keys")[0].key.expose_bytes(), [0xfe; 32]);
        // Base64, in lines as base64(1) writes them, and followed by what a longer file left over.
        let text = BASE64.encode(&[&file[..], &[0; 9]].concat());
        let lines: Vec<_> = text.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line)).collect();
        assert_eq!(found(lines.join("\n").as_bytes(), "reader"), found(&file, "reader"));
    }

    #[test]
    fn a_keytab_that_is_none_says_why() {
        let why = |file: &[u8]| keys(file, "reader", "RIG").expect_err("useless").0;
        for none in [&b""[..], b"reader", b"\x05\x01", b"\xff\xfe\0", b"BQE="] {
            assert_eq!(why(none), "is no keytab of version 2", "{none:?}");
        }
        assert_eq!(why(&file(&[])), "has no key of username and realm");
        assert_eq!(why(&file(&[entry(&["reader"], "OTHER", 18, 1, &[1; 32])])), "has no key of username and realm");
        assert_eq!(why(&file(&[entry(&["reader"], "RIG", 23, 1, &[1; 16])])), "has no AES key of the principal");
        assert_eq!(why(&file(&[entry(&["reader"], "RIG", 18, 1, &[1; 16])])), "has no AES key of the principal");
        let whole = file(&[entry(&["reader"], "RIG", 18, 1, &[1; 32])]);
        assert_eq!(why(&whole[..whole.len() - 1]), "ends in the middle of an entry");
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(bytes: Vec<u8>, place in 0..60_usize, value: u8) {
            let _ = keys(&bytes, "reader", "RIG");
            let _ = keys(&[&[5, 2][..], &bytes].concat(), "reader", "RIG");
            let mut file = file(&[entry(&["reader"], "RIG", 18, 1, &[1; 32])]);
            file[place] = value;
            let _ = keys(&file, "reader", "RIG");
        }
    }
}
