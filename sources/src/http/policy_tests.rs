//! Each kind of address in each way of writing it, and which rule wins.

use super::*;

fn check(policy: &NetworkPolicy, address: &str) -> Option<String> {
    policy.check(address.parse().expect("an address")).err().map(|denied| denied.to_string())
}

#[test]
fn what_is_denied_by_default() {
    let policy = NetworkPolicy::default();
    let table = [
        ("127.0.0.1:80", "loopback"),
        ("127.255.255.254:80", "loopback"),
        ("[::1]:80", "loopback"),
        ("[::ffff:127.0.0.1]:80", "loopback"),
        ("[::127.0.0.1]:80", "loopback"),
        ("[64:ff9b::7f00:1]:80", "loopback"),
        ("[2002:7f00:1::]:80", "loopback"),
        ("169.254.169.254:80", "link-local"),
        ("169.254.0.1:443", "link-local"),
        ("[::ffff:169.254.169.254]:80", "link-local"),
        ("[64:ff9b::a9fe:a9fe]:80", "link-local"),
        ("[fe80::1]:80", "link-local"),
        ("[febf::1]:80", "link-local"),
        ("[fd00:ec2::254]:80", "metadata"),
        ("168.63.129.16:80", "metadata"),
        ("100.100.100.200:80", "metadata"),
        ("[::ffff:100.100.100.200]:80", "metadata"),
        ("0.0.0.0:80", "no host"),
        ("0.1.2.3:80", "no host"),
        ("[::]:80", "no host"),
        ("[::ffff:0.0.0.0]:80", "no host"),
        ("224.0.0.1:80", "multicast"),
        ("239.1.2.3:80", "multicast"),
        ("[ff02::1]:80", "multicast"),
        ("255.255.255.255:80", "broadcast"),
        ("250.0.0.1:80", "broadcast"),
        ("[::ffff:255.255.255.255]:80", "broadcast"),
    ];
    for (address, words) in table {
        let why = check(&policy, address).unwrap_or_else(|| panic!("{address} is allowed"));
        assert!(why.contains(words), "{address}: {why}");
    }
    for address in ["10.0.0.1:80", "172.20.1.1:80", "192.168.1.1:80", "8.8.8.8:53", "[fd12::1]:80", "[2001:db8::1]:443"]
    {
        assert_eq!(check(&policy, address), None, "{address}");
    }
}

#[test]
fn names_of_metadata_services_are_denied_however_they_are_written() {
    let policy = NetworkPolicy::default().allow_loopback(true);
    for name in [
        "metadata.google.internal",
        "METADATA.google.internal.",
        "metadata",
        "metadata.goog",
        "instance-data.ec2.internal",
    ] {
        assert!(policy.check_name(name).is_err(), "{name}");
    }
    for name in ["metadata.shop.svc", "prometheus.monitoring", "google.internal"] {
        assert_eq!(policy.check_name(name), Ok(()), "{name}");
    }
}

#[test]
fn loopback_may_be_allowed_and_nothing_else_with_it() {
    let policy = NetworkPolicy::default().allow_loopback(true);
    for address in ["127.0.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
        assert_eq!(check(&policy, address), None, "{address}");
    }
    for address in ["169.254.169.254:80", "0.0.0.0:80", "[::]:80", "[fd00:ec2::254]:80"] {
        assert!(check(&policy, address).is_some(), "{address}");
    }
    assert!(check(&policy.allow_loopback(false), "127.0.0.1:80").is_some());
}

#[test]
fn own_ports_stay_denied_whatever_is_allowed() {
    let own: SocketAddr = "0.0.0.0:8080".parse().expect("an address");
    let server: SocketAddr = "10.96.0.1:443".parse().expect("an address");
    let network: IpNet = "10.1.0.0/16".parse().expect("a network");
    let all: IpNet = "0.0.0.0/0".parse().expect("a network");
    let policy = NetworkPolicy::default().allow_loopback(true).allow(all).deny(own).deny(server).deny(network);
    for address in [
        "127.0.0.1:8080",
        "127.9.9.9:8080",
        "[::1]:8080",
        "[::ffff:127.0.0.1]:8080",
        "0.0.0.0:8080",
        "10.96.0.1:443",
        "[::ffff:10.96.0.1]:443",
        "10.1.2.3:9090",
        "[64:ff9b::10.1.2.3]:9090",
    ] {
        assert!(check(&policy, address).is_some_and(|why| why.contains("to itself")), "{address}");
    }
    for address in ["127.0.0.1:8081", "10.96.0.1:8443", "10.2.0.1:8080", "169.254.169.254:80"] {
        assert_eq!(check(&policy, address), None, "{address}");
    }
}

#[test]
fn a_network_may_be_allowed_that_is_denied_by_default() {
    let network: IpNet = "169.254.20.0/24".parse().expect("a network");
    let policy = NetworkPolicy::default().allow(network);
    assert_eq!(check(&policy, "169.254.20.10:9253"), None);
    assert!(check(&policy, "169.254.169.254:80").is_some());
    assert!(check(&policy, "127.0.0.1:80").is_some());
}

#[test]
fn what_is_allowed_in_one_namespace_is_allowed_nowhere_else_and_denied_stays_denied() {
    let network = |text: &str| text.parse::<IpNet>().expect("a network");
    let policy =
        NetworkPolicy::default().allow_in("shop", network("169.254.0.0/16")).deny(network("169.254.169.254/32"));
    let policy = Arc::new(policy);
    assert_eq!(policy.zones().collect::<Vec<_>>(), ["shop"]);
    let (shop, other) = (policy.within(&Zone::of("shop")), policy.within(&Zone::of("other")));
    assert_eq!(check(&shop, "169.254.10.1:80"), None);
    assert_eq!(check(&shop, "169.254.169.254:80").as_deref(), Some("an address that the operator keeps to itself"));
    assert_eq!(check(&shop, "127.0.0.1:80").as_deref(), Some("a loopback address"), "the rest is as it was");
    for closed in [&other, &policy, &policy.within(&Zone::default())] {
        assert_eq!(check(closed, "169.254.10.1:80").as_deref(), Some("a link-local address"));
    }
    // The sources of a namespace share connections with each other, and with nobody else.
    assert!(Arc::ptr_eq(&shop, &policy.within(&Zone::of("shop"))) && Arc::ptr_eq(&other, &policy));
    assert!(!Arc::ptr_eq(&shop.clients.0, &policy.clients.0));
}
