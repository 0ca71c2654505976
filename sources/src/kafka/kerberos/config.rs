//! What a trigger's metadata says of a login by Kerberos. This module never connects and never prints a credential.

use std::collections::BTreeMap;

use super::super::config::Endpoint;
use super::conf::Conf;
use super::keytab::{self, KeytabKey};
use crate::{Metadata, Secret};

/// The keys that belong to it alone.
pub(in super::super) const KEYS: [&str; 5] =
    ["keytab", "realm", "kerberosConfig", "kerberosServiceName", "kerberosDisableFAST"];
/// The name that brokers have in their principals, if not another.
const SERVICE: &str = "kafka";
/// The longest name of a principal or realm.
const MAX_NAME: usize = 1024;

/// A principal, how it proves itself, and where its KDCs are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kerberos {
    /// The principal, without its realm.
    pub username: String,
    /// Its realm, which the brokers belong to as well.
    pub realm: String,
    /// How it proves itself.
    pub proof: Proof,
    /// Where its realm's KDCs listen, in the order in which they are asked.
    pub kdcs: Vec<Endpoint>,
    /// The realms of hosts, and of domains with a dot in front.
    pub domains: BTreeMap<String, String>,
    /// The first part of the brokers' principals.
    pub service: String,
}

/// How a principal proves itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Proof {
    /// With a password.
    Password(Secret),
    /// With a key of its keytab: one of these, the most preferred first.
    Keytab(Vec<KeytabKey>),
}

impl std::fmt::Display for Kerberos {
    /// The principal.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.username, self.realm)
    }
}

/// Reads the keys of `sasl: gssapi`; records what is wrong.
pub(in super::super) fn parse(metadata: &mut Metadata<'_>) -> Option<Kerberos> {
    let fix = "write the principal without its realm, such as reader or reader/host.example.com";
    let username = metadata.required("username", fix);
    let username = username.filter(|name| check(metadata, "username", name, "@\\", fix));
    let fix = "write the principal's realm, in the case that it has, such as EXAMPLE.COM";
    let realm = metadata.required("realm", fix);
    let realm = realm.filter(|name| check(metadata, "realm", name, "@/\\", fix));
    let fix = "write the first part of the brokers' principals, such as kafka";
    let service = metadata.optional("kerberosServiceName").unwrap_or(SERVICE);
    let service = Some(service).filter(|name| check(metadata, "kerberosServiceName", name, "@/\\", fix));
    // It is never used, which is what the key asks for.
    metadata.flag("kerberosDisableFAST");
    let (kdcs, domains) = kdcs(metadata, realm).unzip();
    let proof = proof(metadata, username.zip(realm));
    Some(Kerberos {
        username: username?.to_owned(),
        realm: realm?.to_owned(),
        proof: proof?,
        kdcs: kdcs?,
        domains: domains?,
        service: service?.to_owned(),
    })
}

/// Whether a name is one that can be.
fn check(metadata: &mut Metadata<'_>, key: &'static str, name: &str, without: &str, fix: &str) -> bool {
    let fine = name.len() <= MAX_NAME
        && !name.chars().any(|c| c.is_control() || without.contains(c))
        && name.split('/').all(|part| !part.is_empty());
    if !fine {
        metadata.error(key, "cannot be its name", fix);
    }
    fine
}

fn kdcs(metadata: &mut Metadata<'_>, realm: Option<&str>) -> Option<(Vec<Endpoint>, BTreeMap<String, String>)> {
    const KEY: &str = "kerberosConfig";
    let text = metadata.required(KEY, "give the content of a krb5.conf that names the realm's KDCs")?;
    let (conf, realm) = (Conf::parse(text), realm?);
    let kdcs = match conf.kdcs(realm) {
        Ok(kdcs) if kdcs.is_empty() => {
            let fix = format!(
                "give it a section [realms] with {realm} = {{ and kdc = host:port, each on a line of its own; KDCs are not looked up in DNS"
            );
            metadata.error(KEY, format!("names no KDC of the realm {realm}"), fix);
            return None;
        }
        Ok(kdcs) => kdcs,
        Err(number) => {
            let problem = format!("says of kdc number {number} of the realm {realm} something that is not host:port");
            metadata.error(KEY, problem, "write host or host:port; HTTPS proxies are not supported");
            return None;
        }
    };
    // What proves the password goes there.
    kdcs.iter().for_each(|kdc| metadata.check_host(KEY, &kdc.host));
    Some((kdcs, conf.domains))
}

fn proof(metadata: &mut Metadata<'_>, principal: Option<(&str, &str)>) -> Option<Proof> {
    let (password, keytab) = (metadata.optional("password"), metadata.bytes("keytab"));
    match (password, keytab) {
        (Some(password), None) => Some(Proof::Password(Secret::new(password))),
        (None, Some(content)) => {
            let (name, realm) = principal?;
            match keytab::keys(content, name, realm) {
                Ok(keys) => Some(Proof::Keytab(keys)),
                Err((problem, fix)) => {
                    metadata.error("keytab", problem, fix);
                    None
                }
            }
        }
        (None, None) => {
            metadata.error("password", "is required with sasl gssapi, or keytab", "give one of the two");
            None
        }
        (Some(_), Some(_)) => {
            metadata.error("keytab", "is given beside password", "give one of the two");
            None
        }
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
