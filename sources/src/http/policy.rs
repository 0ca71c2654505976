//! Which addresses may be connected to. Whoever may write a trigger names a host, and the operator would fetch from places
//! that the writer cannot reach: this module says no to them. It resolves nothing and connects to nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use std::sync::{Arc, Mutex, PoisonError};

use ipnet::IpNet;

use super::client::Clients;

/// Names under which clouds serve credentials to whoever runs on their machines.
const METADATA_NAMES: &[&str] = &["metadata", "metadata.google.internal", "metadata.goog", "instance-data"];
/// The same as addresses, besides those that are link-local: AWS and Google over IPv6, Azure, Alibaba, Oracle.
const METADATA_ADDRESSES: &[IpAddr] = &[
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// What sources may connect to, and the clients that keep to it. The default allows everything but loopback, link-local,
/// metadata, unspecified, multicast and broadcast addresses, however they are written.
///
/// What is denied by [`NetworkPolicy::deny`] stays denied; else what is allowed is allowed; else the default counts.
#[derive(Debug, Clone, Default)]
pub struct NetworkPolicy {
    loopback: bool,
    denied: Vec<Place>,
    allowed: Vec<IpNet>,
    /// What is allowed besides to the sources of one namespace.
    zones: BTreeMap<Zone, Vec<IpNet>>,
    /// The policies of zones that were asked for.
    zoned: Arc<Mutex<BTreeMap<Zone, Arc<Self>>>>,
    /// Shared by all upstreams, so that one with the same trust shares connections.
    pub(super) clients: Clients,
}

/// Whose sources they are, as far as it matters to what they may connect to: those of one namespace, or by default of all that
/// have no rules of their own. Sources of two zones never share a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Zone(Option<Arc<str>>);

impl Zone {
    /// The zone of one namespace.
    #[must_use]
    pub fn of(namespace: &str) -> Self {
        Self(Some(namespace.into()))
    }
}

/// Something that can be denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// One port of an address. On a loopback address, or on the unspecified one, it means the port on every loopback address.
    Port(SocketAddr),
    /// A network, whatever the port.
    Network(IpNet),
}

impl From<SocketAddr> for Place {
    fn from(address: SocketAddr) -> Self {
        Self::Port(address)
    }
}

impl From<IpNet> for Place {
    fn from(network: IpNet) -> Self {
        Self::Network(network)
    }
}

/// Why an address is denied, in words that follow "which is". Never holds the address: what a name resolves to inside the
/// cluster is nobody's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Denied(&'static str);

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Denied {}

impl NetworkPolicy {
    /// Whether loopback addresses may be connected to: for tests and outside of a cluster, never in a pod.
    #[must_use]
    pub fn allow_loopback(mut self, allowed: bool) -> Self {
        self.loopback = allowed;
        self.changed()
    }

    /// Denies a place, whatever else is allowed: the operator's own ports, the API server.
    #[must_use]
    pub fn deny(mut self, place: impl Into<Place>) -> Self {
        self.denied.push(place.into());
        self.changed()
    }

    /// Allows a network that is denied by default.
    #[must_use]
    pub fn allow(mut self, network: IpNet) -> Self {
        self.allowed.push(network);
        self.changed()
    }

    /// Allows a network that is denied by default to the sources of one namespace.
    #[must_use]
    pub fn allow_in(mut self, namespace: &str, network: IpNet) -> Self {
        self.zones.entry(Zone::of(namespace)).or_default().push(network);
        self.changed()
    }

    /// Another policy never uses a client of this one.
    fn changed(mut self) -> Self {
        self.clients = Clients::default();
        self.zoned = Arc::default();
        self
    }

    /// The namespaces that have rules of their own.
    pub fn zones(&self) -> impl Iterator<Item = &str> {
        self.zones.keys().filter_map(|zone| zone.0.as_deref())
    }

    /// What the sources of `zone` may connect to; this very policy where it has no rules of its own.
    #[must_use]
    pub fn within(self: &Arc<Self>, zone: &Zone) -> Arc<Self> {
        let Some(allowed) = self.zones.get(zone) else { return Arc::clone(self) };
        let mut zoned = self.zoned.lock().unwrap_or_else(PoisonError::into_inner);
        let policy = zoned.entry(zone.clone()).or_insert_with(|| {
            let base = Self { zones: BTreeMap::new(), ..(**self).clone() };
            Arc::new(allowed.iter().fold(base.changed(), |policy, network| policy.allow(*network)))
        });
        Arc::clone(policy)
    }

    /// Whether `address` may be connected to.
    pub(crate) fn check(&self, address: SocketAddr) -> Result<(), Denied> {
        // An IPv4 address inside an IPv6 one goes to the same place, and is judged as both.
        for ip in [Some(address.ip()), embedded(address.ip()).map(IpAddr::V4)].into_iter().flatten() {
            if self.denied.iter().any(|place| place.covers(SocketAddr::new(ip, address.port()))) {
                return Err(Denied("an address that the operator keeps to itself"));
            }
            if self.allowed.iter().any(|network| network.contains(&ip)) {
                continue;
            }
            match kind(ip) {
                Some(Kind::Loopback) if self.loopback => {}
                Some(kind) => return Err(kind.denied()),
                None => {}
            }
        }
        Ok(())
    }

    /// Whether a host of this name may be asked for at all.
    pub(crate) fn check_name(&self, name: &str) -> Result<(), Denied> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let first = name.split('.').next().unwrap_or_default();
        if METADATA_NAMES.contains(&&*name) || first == "instance-data" {
            return Err(Kind::Metadata.denied());
        }
        // RFC 6761: these are loopback, whatever a resolver says.
        if !self.loopback && (name == "localhost" || name.ends_with(".localhost")) {
            return Err(Kind::Loopback.denied());
        }
        Ok(())
    }
}

impl Place {
    fn covers(&self, address: SocketAddr) -> bool {
        match self {
            Self::Network(network) => network.contains(&address.ip()),
            Self::Port(denied) if denied.port() != address.port() => false,
            Self::Port(denied) if denied.ip().is_unspecified() || denied.ip().is_loopback() => {
                address.ip().is_loopback() || address.ip().is_unspecified()
            }
            Self::Port(denied) => denied.ip().to_canonical() == address.ip(),
        }
    }
}

/// Addresses that are denied by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Loopback,
    LinkLocal,
    Metadata,
    Unspecified,
    Multicast,
    Reserved,
}

impl Kind {
    const fn denied(self) -> Denied {
        Denied(match self {
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "a cloud's metadata service",
            Self::Unspecified => "no host's address",
            Self::Multicast => "a multicast address",
            Self::Reserved => "a broadcast or reserved address",
        })
    }
}

fn kind(ip: IpAddr) -> Option<Kind> {
    if METADATA_ADDRESSES.contains(&ip) {
        return Some(Kind::Metadata);
    }
    let is = match ip {
        IpAddr::V4(ip) => [
            (ip.is_loopback(), Kind::Loopback),
            (ip.is_link_local(), Kind::LinkLocal),
            // All of 0.0.0.0/8 means this host or this network.
            (ip.octets()[0] == 0, Kind::Unspecified),
            (ip.is_multicast(), Kind::Multicast),
            // 240.0.0.0/4, broadcast included.
            (ip.octets()[0] >= 240, Kind::Reserved),
        ],
        IpAddr::V6(ip) => [
            (ip.is_loopback(), Kind::Loopback),
            (ip.is_unicast_link_local(), Kind::LinkLocal),
            (ip.is_unspecified(), Kind::Unspecified),
            (ip.is_multicast(), Kind::Multicast),
            // Site-local, out of use since RFC 3879.
            (ip.segments()[0] & 0xffc0 == 0xfec0, Kind::Reserved),
        ],
    };
    is.into_iter().find(|(is, _)| *is).map(|(_, kind)| kind)
}

/// The IPv4 address that an IPv6 one leads to: mapped (`::ffff:0:0/96`), compatible (`::/96`), NAT64 (`64:ff9b::/96`) and 6to4
/// (`2002::/16`).
fn embedded(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(ip) = ip else { return None };
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match ip.segments() {
        // :: and ::1 are addresses of their own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(of(high, low)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
