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
            "hybrid" => "resume = 1500, store = { redis = { failover = \"cluster\", appendonly = \"yes\" } }",
            "mysql" => {
                "rpl_semi_sync_source_enabled = true, promotion = \"none\", on_store_error = \"login\""
            }
            "redis" => "maxmemory = \"96MB\", maxmemory-policy = \"allkeys-lru\", save = \"60 1\"",
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
fn options_without_an_effect_say_beside_what_they_have_one() {
    for (session, marked, store, beside) in [
        ("{ redis = { replicas = 0, replica_lag = \"1s\" } }", "replica_lag", "redis", "`replicas = 1`"),
        (
            "{ redis = { maxmemory-policy = \"allkeys-lru\" } }",
            "maxmemory-policy",
            "redis",
            "`maxmemory = \"1GB\"`",
        ),
        (
            "{ redis = { maxmemory = \"1GB\", maxmemory-samples = 10 } }",
            "maxmemory-samples",
            "redis",
            "`maxmemory = \"1GB\", maxmemory-policy = \"allkeys-lru\"`",
        ),
        (
            "{ redis = { failover = \"none\", down-after-milliseconds = \"5s\" } }",
            "down-after-milliseconds",
            "redis",
            "`failover = \"sentinel\"`",
        ),
        ("{ redis = { cluster-node-timeout = \"5s\" } }", "cluster-node-timeout", "redis", "\"cluster\""),
        ("{ redis = { appendfsync = \"always\" } }", "appendfsync", "redis", "`appendonly = \"yes\"`"),
        ("{ redis = { appendonly = \"yes\", save = \"60 1\" } }", "save", "redis", "`appendonly = \"no\"`"),
        ("{ mysql = { replicas = 0, promotion = \"9s\" } }", "promotion", "mysql", "`replicas = 1`"),
        (
            "{ mysql = { read_from = \"source\", replica_lag = \"1s\" } }",
            "replica_lag",
            "mysql",
            "`read_from = \"replicas\"`",
        ),
        (
            "{ mysql = { rpl_semi_sync_source_timeout = \"1s\" } }",
            "rpl_semi_sync_source_timeout",
            "mysql",
            "`rpl_semi_sync_source_enabled = true`",
        ),
    ] {
        refused(session, marked, &format!("`{marked}` has no effect in this `{store}`"), beside);
    }
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
    for (session, marked, message, help) in [
        (
            "{ redis = { maxmemory = \"1GB\", maxmemory-policy = \"allkeys-lur\" } }",
            "\"allkeys-lur\"",
            "unknown `maxmemory-policy` `allkeys-lur`",
            "`allkeys-lru`",
        ),
        (
            "{ redis = { maxmemory = \"1GB\", maxmemory_policy = \"x\" } }",
            "maxmemory_policy",
            "unknown key `maxmemory_policy` in `strategy.0.session.redis`",
            "`maxmemory-policy`",
        ),
        (
            "{ memcached = { distribution = \"ketma\" } }",
            "\"ketma\"",
            "unknown `distribution` `ketma`",
            "`ketama`",
        ),
        ("{ memcached = { nodes = 0 } }", "0", "`nodes` must be at least 1, got 0", ""),
        (
            "{ mysql = { innodb_flush_log_at_trx_commit = 3 } }",
            "3",
            "unknown `innodb_flush_log_at_trx_commit` `3`",
            "",
        ),
        ("{ mysql = { sync_binlog = -1 } }", "-1", "`sync_binlog` must be at least 0, got -1", ""),
        (
            "{ mysql = { replica_lag = 200 } }",
            "200",
            "`replica_lag` must be a duration with a unit, got 200",
            "\"1h30min\"",
        ),
        ("{ msyql = {} }", "msyql", "unknown session store `msyql`", "`mysql`"),
        ("{ local = { max_sessions = 0 } }", "0", "`max_sessions` must be at least 1, got 0", ""),
        (
            "{ cookie = { sign = \"-1ms\" } }",
            "\"-1ms\"",
            "`sign` must be a duration, got \"-1ms\": a number is missing",
            "",
        ),
    ] {
        refused(session, marked, message, help);
    }
    refused("{ hybrid = { store = { local = {} } } }", "local", "unknown session store `local`", "`mysql`");
}
