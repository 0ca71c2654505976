//! A `krb5.conf`, as far as it says where a realm's KDCs are and which realm a host belongs to. Everything else in it has no effect;
//! it includes no file and asks no DNS.

use std::collections::BTreeMap;

use super::super::config::{Endpoint, endpoint};

/// Where KDCs listen (RFC 4120 section 7.2).
const KDC_PORT: u16 = 88;

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Conf {
    /// The KDCs of each realm, as they are written.
    kdcs: BTreeMap<String, Vec<String>>,
    /// The realm of a host, or with a dot in front of a domain.
    pub(super) domains: BTreeMap<String, String>,
}

impl Conf {
    pub(super) fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        let (mut section, mut within) = ("", Vec::<&str>::new());
        for line in text.lines() {
            // Neither may be part of the name of a host or realm.
            let line = line.split(['#', ';']).next().unwrap_or_default().trim();
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(['*', ']']).trim();
                within.clear();
                continue;
            }
            if line.starts_with('}') {
                within.pop();
                continue;
            }
            let Some((name, value)) = line.split_once('=') else { continue };
            let (name, value) = (name.trim().trim_end_matches('*'), value.trim());
            if value.starts_with('{') {
                within.push(name);
                continue;
            }
            match (section, &within[..], name) {
                ("realms", [realm], "kdc") => conf.kdcs.entry((*realm).to_owned()).or_default().push(value.to_owned()),
                ("domain_realm", [], host) => _ = conf.domains.insert(host.to_ascii_lowercase(), value.to_owned()),
                _ => {}
            }
        }
        conf
    }

    /// The KDCs of a realm in the order in which they are to be asked, or the first that is no host and port: by its number.
    pub(super) fn kdcs(&self, realm: &str) -> Result<Vec<Endpoint>, usize> {
        let mut found = Vec::new();
        for (at, written) in self.kdcs.get(realm).into_iter().flatten().enumerate() {
            let kdc = endpoint(written.trim_matches('"'), KDC_PORT).ok_or(at + 1)?;
            if !found.contains(&kdc) {
                found.push(kdc);
            }
        }
        Ok(found)
    }
}

/// The realm that `domains` say a host belongs to: by its own name, or by the smallest domain around it.
#[cfg(feature = "connect")]
pub(super) fn realm_of<'a>(domains: &'a BTreeMap<String, String>, host: &str) -> Option<&'a str> {
    let around = host.match_indices('.').map(|(at, _)| &host[at..]);
    std::iter::once(host).chain(around).find_map(|name| domains.get(name)).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = r#"
# Written by hand
[libdefaults]
    default_realm = RIG
    default_ccache_name = KEYRING:persistent:%{uid}
    kdc = nowhere.example.com
include /etc/krb5.conf.d
[realms]
    OTHER = {
        kdc = other.example.com
    }
    RIG = {
        kdc = kdc-1.example.com:8888 ; the first
        auth_to_local_names = {
            kdc = inner.example.com
            reader = r
        }
        kdc = KDC-2.example.com
        admin_server = admin.example.com
        kdc = [fd00::1]:89
        kdc* = kdc-1.example.com:8888
    }
[domain_realm]
    .example.com = RIG
    Broker.example.com = OTHER
[capaths]
    RIG = {
        OTHER = .
    }
"#;

    #[test]
    fn it_says_where_the_kdcs_of_a_realm_are() {
        let conf = Conf::parse(CONF);
        let of = |realm| conf.kdcs(realm).map(|kdcs| kdcs.iter().map(ToString::to_string).collect::<Vec<_>>());
        let wanted = ["kdc-1.example.com:8888", "kdc-2.example.com:88", "[fd00::1]:89"];
        assert_eq!(of("RIG").expect("good"), wanted);
        assert_eq!(of("OTHER").expect("good"), ["other.example.com:88"]);
        assert_eq!(of("rig").expect("none, since realms are compared as they are"), [""; 0]);
        for (written, at) in [("a\nkdc = https://proxy/KdcProxy", 2), ("a b", 1), ("a:0", 1), ("", 1)] {
            let conf = Conf::parse(&format!("[realms]\nRIG = {{\nkdc = {written}\n}}"));
            assert_eq!(conf.kdcs("RIG"), Err(at), "{written}");
        }
    }

    #[test]
    #[cfg(feature = "connect")]
    fn a_host_belongs_to_the_realm_of_its_name_or_of_the_smallest_domain() {
        let domains = Conf::parse(CONF).domains;
        assert_eq!(realm_of(&domains, "a.b.example.com"), Some("RIG"));
        assert_eq!(realm_of(&domains, "broker.example.com"), Some("OTHER"));
        assert_eq!(realm_of(&domains, "example.com"), None);
        assert_eq!(realm_of(&domains, "broker"), None);
    }

    #[test]
    fn what_is_no_configuration_says_nothing() {
        for text in ["", "}", "[", "]", "=", "RIG = {", "[realms]\n}\n}\nkdc = a", "[realms]\nkdc = a\n= {\nkdc = b"] {
            assert_eq!(Conf::parse(text).kdcs("RIG"), Ok(Vec::new()), "{text:?}");
        }
    }
}
