use super::*;

fn check(policy: &AddressPolicy, permitted: &[&str], refused: &[&str]) {
    for address in permitted {
        assert!(policy.permits(address.parse().expect("an address")), "{address} must be permitted");
    }
    for address in refused {
        assert!(!policy.permits(address.parse().expect("an address")), "{address} must be refused");
    }
}

fn networks(texts: &[&str]) -> Vec<Cidr> {
    texts.iter().map(|text| text.parse().expect("a network")).collect()
}

#[test]
fn the_public_policy_allows_internet_addresses_only() {
    let permitted =
        ["1.1.1.1", "172.32.0.1", "100.128.0.1", "223.255.255.255", "2606:4700::1", "::ffff:1.1.1.1"];
    let refused = [
        "0.0.0.0",
        "127.0.0.1",
        "127.255.255.254",
        "10.1.2.3",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.100.1.1",
        "168.63.129.16",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fc00::1",
        "fd12::1",
        "ff02::1",
        "2001:db8::1",
        "2001::1",
        "64:ff9b:1::1",
        // The same addresses in other forms.
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::169.254.169.254",
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::",
    ];
    check(&AddressPolicy::public_only(), &permitted, &refused);
}

#[test]
fn allow_and_deny_lists_override_the_base_policy() {
    let policy = AddressPolicy {
        base: Base::PublicOnly,
        allow: networks(&["10.1.0.0/16", "::1"]),
        deny: networks(&["10.1.2.0/24", "1.1.1.1"]),
    };
    let permitted = ["10.1.1.1", "::1", "1.1.1.2", "::ffff:10.1.1.1"];
    check(&policy, &permitted, &["10.1.2.3", "10.2.0.1", "1.1.1.1", "::ffff:1.1.1.1", "::2"]);
    let closed = AddressPolicy { base: Base::DenyAll, allow: networks(&["10.0.0.0/8"]), deny: Vec::new() };
    check(&closed, &["10.9.9.9"], &["1.1.1.1", "11.0.0.1"]);
    let all = AddressPolicy { allow: Vec::new(), deny: networks(&["0.0.0.0/0"]), ..AddressPolicy::default() };
    check(&all, &["::1"], &["1.1.1.1"]);
    assert!(AddressPolicy::allow_all().permits_all() && !all.permits_all());
}

#[test]
fn invalid_networks_are_rejected() {
    for text in ["10.0.0.0/33", "::/129", "10.0.0/8", "example.com", "10.0.0.0/", "10.0.0.0/-1", ""] {
        let error = text.parse::<Cidr>().expect_err("it is no network");
        assert_eq!(
            error.to_string(),
            format!("`{text}` is not a network; write for example 10.0.0.0/8, fd00::/8 or 192.0.2.7")
        );
    }
    assert_eq!("192.0.2.7".parse::<Cidr>().expect("a network").to_string(), "192.0.2.7/32");
}
