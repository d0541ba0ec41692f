//! What is said about mistakes: each kind, with its place and its remedy.

use std::fs;

use evenkeel_sim::scenario::{Diagnostic, Diagnostics, Overrides, load};

use super::{WHOLE, read};

/// The mistakes of [`WHOLE`] with `from` replaced by `to`.
fn mistakes(from: &str, to: &str) -> Vec<Diagnostic> {
    assert_eq!(WHOLE.matches(from).count(), 1, "`{from}` must stand once in the scenario");
    match read(&WHOLE.replace(from, to)) {
        Ok(_) => panic!("`{to}` is taken"),
        Err(mistakes) => mistakes.0,
    }
}

/// Checks that the replacement is one mistake, at the first `marked` of what is put in, with the message and a help
/// that contains `help`.
#[track_caller]
pub(super) fn check(from: &str, to: &str, marked: &str, message: &str, help: &str) {
    let found = mistakes(from, to);
    let text = WHOLE.replace(from, to);
    let start = WHOLE.find(from).unwrap();
    let at = start + to.find(marked).unwrap_or_else(|| panic!("`{marked}` is not in `{to}`"));
    let line = text[..at].matches('\n').count() + 1;
    let column = at - text[..at].rfind('\n').map_or(0, |newline| newline + 1) + 1;
    let all = Diagnostics(found.clone()).to_string();
    assert_eq!(found.len(), 1, "{all}");
    let got = &found[0];
    assert_eq!(got.message, message, "{all}");
    assert_eq!((got.line, got.column), (line, column), "{all}");
    assert!(got.help.as_deref().unwrap_or("").contains(help), "{all}");
}

#[test]
fn three_typos_are_reported_at_once_with_their_lines() {
    let text = WHOLE
        .replace("clients = 10\n", "cleints = 10\n")
        .replace("lvs.wlc", "lvs.wcl")
        .replace("load.requests.jain", "load.request.jain");
    let error = read(&text).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\
x.toml:16:1: unknown key `cleints` in `population.1`
  | cleints = 10
  | ^^^^^^^
  similar keys: `clients`

x.toml:67:20: unknown balancer `lvs.wcl`
  | [strategy.balancer.lvs.wcl]
  |                    ^^^^^^^
  similar names: `lvs.wlc`

x.toml:74:10: unknown metric `load.request.jain`
  | metric = \"load.request.jain\"
  |          ^^^^^^^^^^^^^^^^^^^
  similar metrics: `load.requests.jain`"
    );
}

#[test]
fn unknown_words_name_the_nearest() {
    check("vary = \"behaviour\"", "vary = \"behavior\"", "\"b", "unknown `vary` `behavior`", "`behaviour`");
    check(
        "vary = \"behaviour\"",
        "vary = \"clients\"",
        "\"c",
        "unknown `vary` `clients`",
        "`population`, `behaviour`, `hash`",
    );
    check("\"home-nat\"", "\"homenat\"", "\"", "unknown preset `homenat`", "similar names: `home-nat`");
    check("\"login-site\"", "\"login\"", "\"", "unknown preset `login`", "`login-site`");
    check("window = \"5s\"", "windows = \"5s\"", "w", "unknown key `windows`", "similar keys: `window`");
    check("weibull", "weibul", "w", "unknown law `weibul`", "similar names: `weibull`");
    check("server = \"web2\"", "server = \"web9\"", "\"", "unknown server `web9`", "`web2`");
    check("servers = { web3", "servers = { wbe3", "wbe3", "unknown server `wbe3`", "`web3`");
    check(
        "strategies = [\"lvs\"]",
        "strategies = [\"lsv\"]",
        "\"",
        "unknown strategy `lsv`",
        "similar names: `lvs`",
    );
    check("strategy = \"lvs\"", "strategy = \"ngin\"", "\"", "unknown strategy `ngin`", "`nginx`");
    check("phase = \"during\"", "phase = \"dúring\"", "\"", "unknown `phase` `dúring`", "`during`");
    check(
        "session = { local = {} }",
        "session = { redsi = {} }",
        "redsi",
        "unknown session store `redsi`",
        "`redis`",
    );
}

#[test]
fn wrong_types_say_what_was_expected_and_what_was_got() {
    check("clients = 10\n", "clients = \"ten\"\n", "\"", "`clients` must be a whole number, got \"ten\"", "");
    check("clients = 10\n", "clients = 1.5\n", "1.5", "`clients` must be a whole number, got 1.5", "");
    check("sessions = false", "sessions = \"no\"", "\"", "`sessions` must be true or false, got \"no\"", "");
    check("file = \"a.log\"", "file = 2016-02-20", "2016", "`file` must be a string, got a date", "");
    check("min = 0.9", "min = nan", "nan", "`min` must be a finite number, got NaN", "");
    check("title = \"everything\"", "title = [1]", "[", "`title` must be a string, got an array", "");
    check("rate = 2", "rate = true", "true", "`rate` must be a number, got true", "");
    check(
        "[\"lvs\"]",
        "\"lvs\"",
        "\"",
        "`strategies` must be an array of names of strategies, got \"lvs\"",
        "",
    );
    check(
        "{ local = {} }",
        "\"local\"",
        "\"",
        "`session` must be a table such as { local = {} }, got \"local\"",
        "",
    );
    check(
        "\"192.168.1.100\"",
        "\"192.168.1\"",
        "\"",
        "`address` must be an IP address, got \"192.168.1\"",
        "",
    );
}

#[test]
fn durations_need_a_unit_that_exists() {
    check(
        "warmup = \"1min\"",
        "warmup = 60",
        "60",
        "`warmup` must be a duration with a unit, got 60",
        "\"1h30min\"",
    );
    check(
        "warmup = \"1min\"",
        "warmup = \"1mn\"",
        "\"",
        "`warmup` must be a duration, got \"1mn\": there is no unit `mn`",
        "ns, us, ms, s, min, h or d",
    );
    check("duration = \"1h\"", "duration = \"0s\"", "\"", "`duration` must be above 0s, got \"0s\"", "");
    check(
        "persistence_timeout = \"120s\"",
        "persistence_timeout = \"1.5s\"",
        "\"",
        "`persistence_timeout` must be whole seconds in ipvsadm, got \"1.5s\"",
        "",
    );
    check(
        "persistence_timeout = \"120s\"",
        "persistence_timeout = \"32d\"",
        "\"",
        "`persistence_timeout` must be 1s to 31d in ipvsadm, got \"32d\"",
        "",
    );
}

#[test]
fn values_out_of_range_say_the_limit() {
    check("clients = 10\n", "clients = 0\n", "0", "`clients` must be at least 1, got 0", "");
    check("replications = 3", "replications = 0", "0", "`replications` must be at least 1, got 0", "");
    check("seed = 9", "seed = -9", "-9", "`seed` must be at least 0, got -9", "");
    check("rate = 2", "rate = 0", "0", "`rate` must be above 0, got 0", "");
    check(
        "addresses_per_24 = 2.5",
        "addresses_per_24 = 300",
        "300",
        "`addresses_per_24` must be at most 254, got 300",
        "",
    );
    check("shape = 2,", "shape = 0,", "0", "`shape` must be at least 1, got 0", "");
    check("sigma = 0.5", "sigma = -1", "-1", "`sigma` must be at least 0, got -1", "");
    check(
        "login = true\n",
        "login = true\nleave_on_loss = 1.5\n",
        "1.5",
        "`leave_on_loss` is a probability from 0 to 1, got 1.5",
        "",
    );
    check("weight = 2\n", "weight = 70_000\n", "70_000", "`weight` must be at most 65535, got 70000", "");
    check(
        "weight = 5",
        "weight = 0",
        "0",
        "`weight` must be at least 1 in nginx, got 0",
        "to take a server out, set `down = true`",
    );
    check(
        "\"255.255.255.0\"",
        "\"255.0.255.0\"",
        "\"",
        "`persistence_granularity` must be a netmask, got \"255.0.255.0\"",
        "\"/24\"",
    );
    check(
        "\"10.0.0.3:80\"",
        "\"10.0.0.3:http\"",
        "\"",
        "`address` must be a host and port, got \"10.0.0.3:http\"",
        "10.0.0.1:80",
    );
}

#[test]
fn a_weight_of_zero_in_the_cluster_is_a_mistake_only_where_nginx_uses_it() {
    // LVS takes weight 0; nginx has no such thing, and one message is enough for several strategies.
    let text =
        WHOLE.replace("servers = { web3 = { backup = true, max_fails = 0 }, web2 = { weight = 5 } }", "");
    let text = text.replace("weight = 2\n", "weight = 0\n");
    let error = read(&text).unwrap_err().0;
    assert_eq!(error.len(), 1);
    assert_eq!((error[0].line, error[0].column), (47, 10));
    assert_eq!(error[0].message, "`weight` must be at least 1 in nginx, got 0");
    assert!(read(&WHOLE.replace("weight = 2\n", "weight = 0\n")).is_ok(), "the strategy gives it a weight");
}

#[test]
fn names_are_given_once() {
    check(
        "name = \"bots\"",
        "name = \"homes\"",
        "\"",
        "duplicate population or log `homes`",
        "a name of its own",
    );
    check(
        "name = \"replay\"",
        "name = \"homes\"",
        "\"",
        "duplicate population or log `homes`",
        "a name of its own",
    );
    check("\"10.0.0.3:80\"", "\"10.0.0.2:80\"", "\"", "duplicate address `10.0.0.2:80`", "");
    check("name = \"nginx\"", "name = \" \"", "\" ", "`name` must be some readable text, got \" \"", "");
    check("seed = 9", "seed = 9\nseed = 8", "seed = 8", "duplicate key", "");
    let found = mistakes("name = \"web3\"", "name = \"web2\"");
    assert_eq!(found[0].message, "duplicate server `web2`");
    assert_eq!(found[1].message, "unknown server `web3`");
}

#[test]
fn what_must_be_said_is_asked_for() {
    let all = read("").unwrap_err().0;
    let messages: Vec<_> = all.iter().map(|mistake| mistake.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "nobody visits the site",
            "missing key `title`",
            "missing key `duration`",
            "missing key `cluster`",
            "missing key `strategy`"
        ]
    );
    let found = mistakes("session = { local = {} }", "");
    assert_eq!(found[0].message, "missing key `session` in `strategy.0`");
    assert_eq!(found[0].line, 56);
    assert!(found[0].help.as_ref().unwrap().contains("session = { local = {} }"));
    let found = mistakes("min = 0.9", "");
    assert_eq!(found[0].message, "missing key `max` in `expect.0`");
    assert!(found[0].help.as_ref().unwrap().contains("`min` or `max`"));
    let found = mistakes("clicks = { pareto = { min = 1, alpha = 1.3, max = 50 } }", "");
    assert_eq!(found[0].message, "missing key `clicks` in `population.2.visit`");
    let found = mistakes("capacity = { workers = 8, queue_limit = 100, service = \"20ms\" }", "");
    let messages: Vec<_> = found.iter().map(|mistake| mistake.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "missing key `capacity` in `cluster.servers.0`",
            "the server's capacity has no `service`",
            "the server's capacity has no `service`"
        ]
    );
}

#[test]
fn a_run_ends_after_a_duration_or_with_its_log() {
    assert_eq!(read(&WHOLE.replace("duration = \"1h\"\n", "")).unwrap().scenario.duration, None);
    let without_log = WHOLE.replace("[[log]]\nname = \"replay\"\nfile = \"a.log\"\nsessions = false\n", "");
    let found = read(&without_log.replace("duration = \"1h\"\n", "")).unwrap_err().0;
    assert_eq!(found[0].message, "missing key `duration`");
    assert!(found[0].help.as_ref().unwrap().contains("`[[log]]` ends by itself"));
}

#[test]
fn faults_happen_within_the_run_to_servers_that_are_up() {
    check(
        "at = \"10min\"",
        "at = \"0s\"",
        "\"",
        "the warm-up must end before the first fault, got \"0s\"",
        "end of the warm-up",
    );
    check(
        "at = \"10min\"",
        "at = \"60min\"",
        "\"",
        "the fault comes after the run has ended, got \"60min\"",
        "before the end at 1h",
    );
    check("lasts = \"2m\"", "lasts = \"0s\"", "\"", "`lasts` must be above 0s, got \"0s\"", "");
    check(
        "at = \"2s\"",
        "at = \"2h\"",
        "\"",
        "the connection opens after the run has ended, got \"2h\"",
        "at 1h",
    );
    let without_fault =
        WHOLE.replace("[[fault]]\nat = \"10min\"\ncrash = { server = \"web2\", lasts = \"2m\" }\n", "");
    let found = read(&without_fault).unwrap_err().0;
    assert_eq!(found[0].message, "there is no phase `during` without a fault");
}

#[test]
fn contradictions_are_named() {
    check("min = 0.9", "min = 0.9\nmax = 0.5", "0.5", "`max` must be at least `min`, got 0.9 and 0.5", "");
    check(
        "file = \"a.log\"",
        "file = \"a.log\"\nfiles = [\"b.log\"]",
        "files",
        "a log has `file` or `files`, got both",
        "",
    );
    check(
        "at = \"2s\", hold",
        "at = \"2s\", hold = \"1s\" }, { at = \"1s\", hold",
        "\"1s\", hold",
        "\"1s\" comes after 2s",
        "in order of time",
    );
    check(
        "fixed = [",
        "users_per_address = 3, fixed = [",
        "users",
        "`users_per_address` has no effect on `fixed` addresses",
        "in turn",
    );
    check(
        "login = true\n",
        "login = false\nform_token = true\n",
        "true",
        "`form_token` has no meaning without a login",
        "`login = true`",
    );
    check(
        "min = \"1min\", max = \"1h\"",
        "min = \"2h\", max = \"1h\"",
        "\"1h\"",
        "`max` must be at least `min`, got \"1h\"",
        "",
    );
    check(
        "away = { uniform = { min = \"1min\", max = \"1h\" } }",
        "away = \"0s\"",
        "\"",
        "`away` must be above 0s: a user who is never away clicks without end in no time",
        "",
    );
    check(
        "cores = 2",
        "cores = 2, workers = 3",
        "workers",
        "`workers` belongs to discipline `fcfs`",
        "`cores` and `limit`",
    );
    check(
        "l_threshold = 20",
        "l_threshold = 60",
        "60",
        "`l_threshold` must be at most `u_threshold` (50), got 60",
        "",
    );
    check(
        "window = \"5s\"",
        "window = \"1ms\"",
        "\"",
        "`window` must leave at most 1000000 windows, got \"1ms\"",
        "",
    );
}

#[test]
fn options_belong_to_their_program() {
    check(
        "timeouts = { tcp_fin = \"5s\" }",
        "max_fails = 0",
        "max_fails",
        "`max_fails` is an option of nginx, not of `lvs.wlc`",
        "health = { tcp_check = {} }",
    );
    check(
        "max_fails = 3",
        "persistence_timeout = \"120s\"",
        "persistence_timeout",
        "`persistence_timeout` is an option of LVS, not of `nginx.round_robin`",
        "nginx.ip_hash",
    );
    check(
        "max_fails = 3",
        "key = \"remote_addr\"",
        "key",
        "`key` has no meaning with `nginx.round_robin`",
        "`nginx.hash`",
    );
    check(
        "max_fails = 3",
        "consistent = true",
        "consistent",
        "`consistent` has no meaning with `nginx.round_robin`",
        "`nginx.hash_consistent`",
    );
    check(
        "session = { local = {} }",
        "session = { local = {} }\nhealth = { tcp_check = {} }",
        "health",
        "nginx open source has passive checks only, got `health`",
        "`max_fails` and `fail_timeout`",
    );
    let found = mistakes("nginx.round_robin", "nginx.ip_hash");
    assert_eq!(found[0].message, "the balancing method does not support `backup`");
    assert_eq!((found[0].line, found[0].column), (62, 31));
    assert!(found[0].help.as_ref().unwrap().contains("`down = true`"));
}

#[test]
fn balancers_that_are_none_or_several_are_mistakes() {
    let with = |balancer: &str| {
        let text =
            WHOLE.replace("[strategy.balancer.lvs.wlc]", &format!("balancer = {balancer}\n[strategy.rest]"));
        read(&text).unwrap_err().0[0].clone()
    };
    let column = "balancer = ".len() + 1;
    for (balancer, offset, message) in [
        ("{}", 0, "`balancer` takes one balancer, got 0"),
        ("{ lvs.rr = {}, nginx.ip_hash = {} }", 15, "`balancer` takes one balancer, got 2"),
        ("{ lvs = {} }", 2, "`lvs` takes one method, got 0"),
        ("{ haproxy.least_conn = {} }", 2, "unknown balancer `haproxy.least_conn`"),
        ("{ haproxy = {} }", 2, "`haproxy` takes one method, got 0"),
        ("{ varnish = {} }", 2, "unknown balancer `varnish`"),
        ("{ lvs = 3 }", 2, "unknown balancer `lvs`"),
        ("\"lvs.wrong\"", 0, "unknown balancer `lvs.wrong`"),
        ("3", 0, "`balancer` must be a table such as { nginx.round_robin = {} }, got 3"),
        ("{ lvs.rr = 3 }", 11, "`rr` must be a table of options: write `rr = {}`, got 3"),
    ] {
        let got = with(balancer);
        assert_eq!((got.message.as_str(), got.column), (message, column + offset), "{balancer}");
    }
}

#[test]
fn a_broken_line_does_not_hide_other_mistakes_nor_invent_any() {
    let found = mistakes("clients = 1_000", "clients = 1_0o0\ncolour = 3");
    let places: Vec<_> = found.iter().map(|mistake| (mistake.line, mistake.column)).collect();
    assert_eq!(places, [(11, 11), (12, 1)], "{}", Diagnostics(found));
    let found = mistakes("title = \"everything\"", "title = \"everything");
    assert_eq!(found.iter().map(|mistake| mistake.line).collect::<Vec<_>>(), [1], "{}", Diagnostics(found));
}

#[test]
fn files_are_read_with_their_logs_and_their_encoding() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s.toml");
    fs::write(&path, WHOLE).unwrap();
    let mistakes = load(&path, &Overrides::NONE).unwrap_err().0;
    assert_eq!((mistakes[0].line, mistakes[0].column), (32, 8));
    assert!(mistakes[0].message.starts_with("cannot read the log `a.log`"), "{}", mistakes[0]);
    fs::write(folder.path().join("a.log"), "").unwrap();
    assert_eq!(load(&path, &Overrides::NONE).unwrap().folder, folder.path());
    fs::write(&path, b"title = \"a\"\nseed = \"\xff\"").unwrap();
    let mistakes = load(&path, &Overrides::NONE).unwrap_err().0;
    assert_eq!((mistakes[0].line, mistakes[0].column), (2, 9));
    let missing = load(folder.path().join("none.toml"), &Overrides::NONE).unwrap_err();
    let message = missing.to_string();
    assert!(
        message.contains(".toml: cannot read the scenario"),
        "no place inside a file that is not there: {message}"
    );
}

#[test]
fn mistakes_can_be_written_as_json() {
    let mistakes = Diagnostics(mistakes("seed = 9", "seed = -9"));
    let json = serde_json::to_value(&mistakes).unwrap();
    assert_eq!(json[0]["line"], 5);
    assert_eq!(json[0]["source_line"], "seed = -9");
}
