//! Session stores as scenarios spell them.

use evenkeel_sim::store::catalogue::STORES;

use super::mistakes::check;
use super::{WHOLE, read};

/// Checks what is said of `session` written as this.
#[track_caller]
fn refused(session: &str, marked: &str, message: &str, help: &str) {
    check("session = { local = {} }", &format!("session = {session}"), marked, message, help);
}

#[test]
fn every_store_of_the_catalogue_is_read_and_its_explanation_reads_as_the_same() {
    for store in STORES {
        let options = match store.name {
            "shared" => "latency = \"2ms\"",
            "hybrid" => {
                "resume = 1500, store = { redis = { failover = \"cluster\", appendonly = \"always\" } }"
            }
            "mysql" => {
                "rpl_semi_sync_source_enabled = true, promotion = \"none\", on_store_error = \"login\""
            }
            "redis" => "maxmemory = \"96MB\", maxmemory_policy = \"allkeys-lru\", save = \"60 1\"",
            "memcached" => "memory = \"1GB\", distribution = \"ketama\"",
            _ => "",
        };
        let text = WHOLE.replace(
            "session = { local = {} }",
            &format!("session = {{ {} = {{ {options} }} }}", store.name),
        );
        let explained = read(&text).unwrap_or_else(|mistakes| panic!("{mistakes}")).resolved.to_string();
        let again = read(&explained).unwrap_or_else(|mistakes| panic!("{mistakes}\n{explained}"));
        assert_eq!(again.resolved.to_string(), explained);
        for option in options.split(", ").filter(|option| !option.contains('{') && !option.is_empty()) {
            assert!(explained.contains(option.trim_end_matches(" }")), "{option} is not in {explained}");
        }
    }
}

#[test]
fn options_without_an_effect_are_unknown() {
    refused(
        "{ redis = { replicas = 0, replica_lag = \"1s\" } }",
        "replica_lag",
        "unknown key `replica_lag` in `strategy.0.session.redis`",
        "`replicas`",
    );
    refused(
        "{ redis = { maxmemory_policy = \"allkeys-lru\" } }",
        "maxmemory_policy",
        "unknown key `maxmemory_policy` in `strategy.0.session.redis`",
        "`maxmemory`",
    );
    refused(
        "{ tomcat_delta = { on_store_error = \"login\" } }",
        "on_store_error",
        "unknown key `on_store_error` in `strategy.0.session.tomcat_delta`",
        "",
    );
}

#[test]
fn wrong_values_say_what_would_be_right() {
    refused(
        "{ redis = { maxmemory = \"64\" } }",
        "\"64\"",
        "`maxmemory` must be a size above zero, got \"64\"",
        "KB, MB or GB",
    );
    refused(
        "{ redis = { save = \"60 1 300\" } }",
        "\"60 1 300\"",
        "`save` must be pairs of seconds and changes, got \"60 1 300\"",
        "\"3600 1 300 100\"",
    );
    refused(
        "{ redis = { failover = \"sentinl\" } }",
        "\"sentinl\"",
        "unknown `failover` `sentinl`",
        "`sentinel`",
    );
    refused("{ tomcat_delta = { channelSendOptions = 7 } }", "7", "unknown `channelSendOptions` `7`", "");
    refused(
        "{ hybrid = { threshold = 10, resume = 20, store = { redis = {} } } }",
        "20",
        "`resume` must be at most 10, got 20",
        "",
    );
    refused("{ hybrid = { store = { local = {} } } }", "local", "unknown session store `local`", "`mysql`");
}
