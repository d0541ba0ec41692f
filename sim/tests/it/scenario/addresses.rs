//! Plans of addresses: how they are written, and what is refused.

use super::mistakes::check;
use super::{WHOLE, read};

#[test]
fn every_way_to_write_addresses_is_explained_as_it_was_read() {
    // The two populations of the whole scenario come from each of these in turn; what `explain` prints must read back as
    // the same plan, which the canonical text shows.
    for address in [
        r#"{ preset = "direct" }"#,
        r#"{ preset = "home-nat", leases = "none", front = { addresses = 1, trusted = true } }"#,
        r#"{ preset = "home-nat", leases = { periodic = { share = 1.0, at = "4h" }, new_24 = 0.5, new_prefix = 0 } }"#,
        r#"{ preset = "office", users_per_address = { pareto = { min = 1, alpha = 1.3, max = 5000 } } }"#,
        r#"{ preset = "direct", users_per_address = { empirical = { quantiles = [1, 1, 2, 8] } } }"#,
        r#"{ preset = "campus", addresses_per_24 = { constant = 60 }, networks_per_prefix = 3.5 }"#,
        r#"{ preset = "cgnat", pooling = "arbitrary", pool_addresses = 16 }"#,
        r#"{ preset = "cgnat", mapping_timeout = "none" }"#,
        r#"{ preset = "mobile", hand_over = "10min" }"#,
        r#"{ preset = "direct", pool_addresses = 3, pooling = "paired" }"#,
        r#"{ preset = "mega-proxy" }"#,
        r#"{ preset = "ipv6-home", ipv6 = { homes = 0.5, connections = 0.95, temporary = "none" } }"#,
        r#"{ preset = "behind-cdn" }"#,
        r#"{ fixed = ["198.51.100.1", "2001:db8::1"], front = { addresses = 2 } }"#,
    ] {
        let text = WHOLE.replace(r#"{ preset = "home-nat", addresses_per_24 = 2.5 }"#, address);
        let loaded = read(&text).unwrap_or_else(|mistakes| panic!("{address}: {mistakes}"));
        let explained = loaded.resolved.to_string();
        let again = read(&explained).unwrap_or_else(|mistakes| panic!("{address}: {mistakes}\n{explained}"));
        assert_eq!(
            again.scenario.populations[0].address, loaded.scenario.populations[0].address,
            "{address}"
        );
        let rules = loaded.scenario.populations[0].connection;
        assert_eq!(rules.keepalive_requests == 1, address.contains("mega-proxy"), "{address}");
    }
}

#[test]
fn addresses_that_exclude_each_other_or_cannot_be_had_are_refused() {
    for (with, at, message, help) in [
        (
            "\"home-nat\", pooling = \"paired\"",
            "\"paired\"",
            "`pooling` has no meaning with preset `home-nat`",
            "cgnat",
        ),
        (
            "\"direct\", hand_over = \"1h\"",
            "\"1h\"",
            "`hand_over` has no meaning with preset `direct`",
            "pool_addresses",
        ),
        ("\"cgnat\", pooling = \"by_turns\"", "\"by_turns\"", "unknown `pooling` `by_turns`", ""),
        (
            "\"cgnat\", pooling = \"arbitrary\", mapping_timeout = \"1h\"",
            "\"1h\"",
            "`mapping_timeout` has no meaning unless users are paired with addresses",
            "as long as it is open",
        ),
        (
            "\"mega-proxy\", hand_over = \"1h\"",
            "\"1h\"",
            "`hand_over` has no meaning where each request has another address",
            "leave it out",
        ),
        ("\"cgnat\", leases = {}", "{}", "`leases` have no meaning for the users of a pool", "hand_over"),
        (
            "\"home-nat\", pool_addresses = 4",
            "4",
            "preset `home-nat` has leases, which a pool excludes",
            "\"none\"",
        ),
        (
            "\"direct\", leases = { new_prefix = 0.9 }",
            "{ new_prefix = 0.9 }",
            "`new_24` = 0.9 and `new_prefix` = 0.9 cannot be had",
            "0.85",
        ),
        (
            "\"direct\", leases = { exponential = { share = 0.7 }, periodic = { share = 0.4 } }",
            "{ exponential = { share = 0.7 }, periodic = { share = 0.4 } }",
            "the shares of the leases must sum to at most 1, got 1.1",
            "keeps its address",
        ),
        (
            "\"direct\", leases = { exponential = { share = 1.5 } }",
            "1.5",
            "`share` must be from 0 to 1, got 1.5",
            "",
        ),
        ("\"direct\", front = { addresses = 0 }", "0", "`addresses` must be at least 1, got 0", ""),
        (
            "\"direct\", ipv6 = { temporary = \"0s\" }",
            "\"0s\"",
            "`temporary` must be at least 1s, got \"0s\"",
            "",
        ),
        ("\"direct\", users_per_address = { zipf = 1 }", "zipf", "unknown law `zipf`", ""),
    ] {
        check("\"home-nat\"", with, at, message, help);
    }
    check(
        "{ preset = \"home-nat\", addresses_per_24 = 2.5 }",
        "{ preset = \"campus\", leases = {} }",
        "{} ",
        "homes with leases can have at most 4 addresses in a /24 on average, got 120",
        "addresses_per_24",
    );
    check(
        "address = { preset = \"home-nat\", addresses_per_24 = 2.5 }",
        "address = { preset = \"mega-proxy\" }\nconnection = { keepalive_requests = 5 }",
        "{ keepalive_requests = 5 }",
        "`keepalive_requests` must be 1 here, got 5",
        "per_request",
    );
}
