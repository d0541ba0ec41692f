//! Logs of sites that nobody here has seen: each gives users and a run, or an error that names the remedy.

use evenkeel_sim::cluster::{self, RunSetup};
use evenkeel_sim::population::fit::fit;
use evenkeel_sim::population::replay::{LogOptions, LogPreparation, PreparedLog, SessionsBy};

use crate::support::{read, repository};

/// A line of the `combined` format, `second` seconds into the day.
fn line(second: u32, address: &str, path: &str, agent: &str) -> String {
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!(
        "{address} - - [20/Feb/2016:{hour:02}:{minute:02}:{:02} +0000] \"GET {path} HTTP/1.1\" 200 12 \"-\" \"{agent}\"\n",
        second % 60
    )
}

fn lines(number: u32, each: impl Fn(u32) -> String) -> Vec<u8> {
    (0..number).map(each).collect::<String>().into_bytes()
}

fn usual(n: u32) -> String {
    line(n * 7, &format!("192.0.2.{}", n % 9), "/", "Mozilla/5.0")
}

fn prepare(text: &[u8]) -> Result<PreparedLog, String> {
    let mut preparation = LogPreparation::new(LogOptions::default());
    preparation.read("access.log", text).map_err(|error| error.to_string())?;
    preparation.finish().map_err(|error| error.to_string())
}

/// Replays the log, then runs the users that are fitted to it.
fn replay_and_run(what: &str, log: PreparedLog) {
    let cluster = r#"
[cluster]
servers = [ { name = "a", address = "10.0.0.1:80" }, { name = "b", address = "10.0.0.2:80" } ]
capacity = { workers = 64, service = "1ms" }
[[strategy]]
name = "only"
balancer = { nginx.hash = { key = "$request_uri" } }
session = { local = {} }
"#;
    let run = |text: String, logs: &[PreparedLog]| {
        let loaded = read(&text);
        let setup = RunSetup { scenario: &loaded.scenario, strategy: 0, replication: 0, logs, stories: 0 };
        cluster::run(&setup, &|_| ()).unwrap_or_else(|error| panic!("{what}: {error}")).counts.ledger
    };
    let groups = fit(&log).unwrap_or_else(|error| panic!("{what}: {error}")).groups;
    let requests = log.requests();
    let replayed = run(format!("title = \"t\"\n[[log]]\nname = \"log\"\nfile = \"-\"\n{cluster}"), &[log]);
    assert_eq!((replayed.requests_issued, replayed.requests_served), (requests, requests), "{what}");
    for group in groups {
        let users = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(users.path(), &group.csv).expect("room for the users");
        let file = users.path().display();
        let text = format!(
            "title = \"t\"\nduration = \"1min\"\n[[population]]\nname = \"p\"\nusers = {{ file = \"{file}\" }}\n\
             visit = {{ preset = \"browse\" }}\n{cluster}"
        );
        let ledger = run(text, &[]);
        assert!(ledger.requests_served <= ledger.requests_issued, "{what}");
    }
}

#[test]
fn every_other_site_s_log_gives_users_and_a_run() {
    let head = |n: u32| format!("Feb 20 00:00:{:02} web1 nginx[7]: ", n % 60);
    let haproxy = |n: u32| format!("192.0.2.{}:51000 [20/Feb/2016:00:00:{:02}.655]", n % 9, n % 60);
    for (what, text, format, valid, malformed, addresses) in [
        (
            "host names in common",
            lines(90, |n| {
                let (name, s) = (n % 5, n % 60);
                format!("h{name}.example.com - ann [20/Feb/2016:00:00:{s:02} +0000] \"GET /{n} HTTP/1.0\" 200 -\n")
            }),
            "combined",
            90,
            0,
            5,
        ),
        ("IPv6", lines(90, |n| line(n, &format!("2001:db8:{}::{}", n % 7, n % 3), "/", "A")), "combined", 90, 0, 21),
        ("virtual hosts", lines(9, |n| format!("a.example:443 {}", usual(n))), "vhost_combined", 9, 0, 9),
        ("escaped quotes", lines(9, |n| line(n, "192.0.2.1", "/a\\\"b", "say \\\"x\\\" \\\\")), "combined", 9, 0, 1),
        (
            "dashes",
            lines(9, |n| usual(n).replace("\"GET / HTTP/1.1\" 200 12", "\"-\" 408 -")),
            "combined",
            9,
            0,
            9,
        ),
        ("nobody", lines(9, |n| usual(n) + &usual(n).replacen("192.0.2.", "-", 1)), "combined", 9, 9, 9),
        ("broken lines", lines(9, |n| usual(n) + "noise \u{1} {\n\n"), "combined", 9, 9, 9),
        ("carriage returns", lines(9, |n| usual(n).replace('\n', "\r\n")), "combined", 9, 0, 9),
        ("hours out of order", lines(99, |n| line(n * 7_919 % 36_000, "192.0.2.1", "/", "A")), "combined", 99, 0, 1),
        ("a byte order mark", [&b"\xEF\xBB\xBF"[..], &lines(9, usual)].concat(), "combined", 9, 0, 9),
        ("robots alone", lines(9, |n| line(n, "192.0.2.1", "/", "Googlebot/2.1")), "combined", 9, 0, 1),
        ("one line", lines(1, usual), "combined", 1, 0, 1),
        ("one line without its end", usual(0).trim_end().as_bytes().to_vec(), "combined", 1, 0, 1),
        ("one client", lines(99, |n| line(n * 60, "192.0.2.1", "/", "A")), "combined", 99, 0, 1),
        ("static objects alone", lines(9, |n| line(n, "192.0.2.1", "/a.css", "A")), "combined", 9, 0, 1),
        ("one second", lines(99, |n| line(0, &format!("192.0.2.{}", n % 9), "/", "A")), "combined", 99, 0, 9),
        ("syslog before nginx", lines(9, |n| head(n) + &usual(n)), "combined", 9, 0, 9),
        (
            "a line too long",
            [usual(0), line(1, "192.0.2.1", &"x".repeat(200_000), "A"), usual(2)].concat().into_bytes(),
            "combined",
            2,
            1,
            2,
        ),
        (
            "nested JSON",
            lines(9, |n| {
                format!(
                    "{{\"@timestamp\":\"2016-02-20T00:00:{n:02}.5Z\",\"source\":{{\"ip\":\"192.0.2.{n}\"}},\"url\":{{\"path\":\"/a\"}}}}\n"
                )
            }),
            "json",
            9,
            0,
            9,
        ),
        (
            "HAProxy's HTTP log",
            lines(9, |n| {
                format!("{}{} in s/a 1/0/3/6/9 200 7 - - ---- 1/1/1/1/0 0/0 \"GET /x HTTP/1.1\"\n", head(n), haproxy(n))
            }),
            "haproxy",
            9,
            0,
            9,
        ),
        (
            "HAProxy's TCP log",
            lines(9, |n| format!("{}{} f b/s 0/0/5007 212 -- 0/0/0/0/3 0/0\n", head(n), haproxy(n))),
            "haproxy",
            9,
            0,
            9,
        ),
        (
            "IIS",
            [
                &b"#Software: Microsoft Internet Information Services 10.0\r\n#Fields: date time cs-method cs-uri-stem c-ip sc-status\r\n"[..],
                &lines(9, |n| format!("2016-02-20 00:00:{n:02} GET /a 192.0.2.{n} 200\r\n")),
            ]
            .concat(),
            "#Fields: date time cs-method cs-uri-stem c-ip sc-status",
            9,
            0,
            9,
        ),
        (
            "CloudFront",
            [
                &b"#Version: 1.0\n#Fields: date time c-ip cs-method cs-uri-stem\n"[..],
                &lines(9, |n| format!("2016-02-20\t00:00:{n:02}\t192.0.2.{n}\tGET\t/a\n")),
            ]
            .concat(),
            "#Fields: date\ttime\tc-ip\tcs-method\tcs-uri-stem",
            9,
            0,
            9,
        ),
    ] {
        let log = prepare(&text).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = log.statistics();
        assert!(found.formats.starts_with(&format!("{format}, judged")), "{what}: {}", found.formats);
        let counts = (found.counts.valid, found.counts.malformed, found.addresses);
        assert_eq!(counts, (valid, malformed, addresses), "{what}");
        replay_and_run(what, log);
    }
}

#[test]
fn bytes_that_are_no_text_tell_agents_apart_like_any_others() {
    let mut text = lines(2, |_| line(0, "192.0.2.1", "/", "caf_"));
    let places: Vec<_> =
        text.iter().enumerate().filter(|(_, byte)| **byte == b'_').map(|(at, _)| at).collect();
    (text[places[0]], text[places[1]]) = (0xE9, 0xFF);
    let log = prepare(&text).expect("two lines");
    assert_eq!(log.agents(), [Box::from(&b"caf\xE9"[..]), Box::from(&b"caf\xFF"[..])]);
    replay_and_run("no UTF-8", log);
}

#[test]
fn clocks_that_change_to_summer_time_and_back_keep_the_order_of_truth() {
    // 01:59:59 -0500 is followed by 03:00:00 -0400, a second later.
    let at = |clock: &str| format!("192.0.2.1 - - [13/Mar/2016:{clock}] \"GET / HTTP/1.1\" 200 1\n");
    let text = at("01:59:59 -0500") + &at("03:00:00 -0400") + &at("03:00:01 -0400");
    let log = prepare(text.as_bytes()).expect("three lines");
    let times: Vec<u64> =
        log.records().map(|request| request.expect("a record").at.0 / 1_000_000_000).collect();
    assert_eq!(times, [0, 1, 2]);
    assert_eq!(log.statistics().counts.backward_steps, 0);
}

#[test]
fn what_is_no_log_is_refused_with_the_remedy() {
    let gzip = std::fs::read(repository("scenarios/logs/data/elastic10k_access.log.gz")).expect("a log");
    for (what, text, parts) in [
        ("nothing", Vec::new(), ["no valid line among 0", "--log-format"]),
        ("empty lines", b"\n\n".to_vec(), ["no valid line among 2", "--log-format"]),
        ("half a gzip file", gzip[..gzip.len() / 2].to_vec(), ["cannot read the log", "breaks off"]),
        ("UTF-16", b"\xFF\xFEa\0\n\0".to_vec(), ["UTF-16", "iconv"]),
        ("tabs", lines(9, |n| usual(n).replace(' ', "\t")), ["no known format fits", "--log-format"]),
        (
            "other keys",
            b"{\"who\":\"192.0.2.1\",\"at\":1}\n".to_vec(),
            ["the nearest format is `json`", "--log-format"],
        ),
        ("a JSON array", b"[{\"ip\":\"192.0.2.1\"}]".to_vec(), ["the nearest format is `json`", "jq -c"]),
        (
            "W3C without a date",
            b"#Fields: time c-ip\n00:00:01 192.0.2.1\n".to_vec(),
            ["`date` and `time`", "c-ip"],
        ),
        (
            "a table",
            b"time,ip\n2016-02-20T00:00:01Z,192.0.2.1\n".to_vec(),
            ["no known format fits", "--log-format"],
        ),
    ] {
        let error = prepare(&text).expect_err(what);
        assert!(parts.iter().all(|part| error.contains(part)), "{what}: {error}");
    }
}

#[test]
fn a_log_that_says_who_its_users_are_is_asked_for_no_more_than_it_has() {
    let options = LogOptions { sessions_by: SessionsBy::Cookie("sid".into()), ..LogOptions::default() };
    let error = LogPreparation::new(options).read("access.log", &lines(9, usual)[..]).expect_err("no cookie");
    assert!(error.to_string().contains("has no cookie `sid`"), "{error}");
}

#[test]
fn a_log_with_a_clock_that_was_not_set_is_refused_before_it_makes_a_run_of_half_a_century() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let text = line(9, "192.0.2.1", "/", "A")
        + &line(5, "192.0.2.1", "/", "A").replace("20/Feb/2016", "01/Jan/1970");
    std::fs::write(folder.path().join("access.log"), text).expect("a writable directory");
    let loaded = read(
        r#"
title = "t"
[[log]]
name = "site"
file = "access.log"
[cluster]
servers = [ { name = "a", address = "10.0.0.1:80" } ]
capacity = { workers = 64, service = "1ms" }
[[strategy]]
name = "only"
balancer = "nginx.round_robin"
session = { local = {} }
"#,
    );
    let error = evenkeel_sim::experiment::prepare_logs(&loaded.scenario, folder.path(), &|_| ())
        .expect_err("46 years of 10 s");
    let error = error.to_string();
    for part in ["log `site`", "1970-01-01T00:00:05Z", "access.log:2)", "`from` or `until`"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}
