//! Which clients are programs. A log does not say; three marks are taken as evidence, in this order:
//!
//! 1. the user agent names a bot, spider, crawler or monitor, as well-behaved robots do (RFC 9309, section 2.2.1,
//!    asks for the product token in the agent);
//! 2. the user agent is that of a library or a tool, by a part of the COUNTER list that publishers filter usage by
//!    (github.com/atmire/COUNTER-Robots at 046ae9f, `generated/COUNTER_Robots_list.txt`);
//! 3. the client asked for `/robots.txt`, which browsers do not (RFC 9309, section 2.3).
//!
//! Robots that pose as browsers stay undetected. A missing agent is no evidence, unlike in the COUNTER list: the
//! `common` format has none.

use serde::Serialize;

/// Why a client is taken for a program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BotReason {
    /// The user agent names a bot, spider, crawler or monitor.
    AgentName,
    /// The user agent is that of an HTTP library, a command-line tool or a feed reader.
    Tool,
    /// The client asked for `/robots.txt`.
    RobotsTxt,
}

/// What robots call themselves, in lower case.
const ROBOT_WORDS: [&[u8]; 4] = [b"bot", b"spider", b"crawl", b"monitor"];

/// Parts of the agents of libraries, tools, feed readers and of robots without a word of [`ROBOT_WORDS`], in lower
/// case.
const TOOL_WORDS: [&[u8]; 32] = [
    b"archiver",
    b"checklink",
    b"curl/",
    b"embedly",
    b"facebookexternalhit",
    b"feedbin",
    b"feedburner",
    b"feedfetcher",
    b"feedparser",
    b"feedreader",
    b"go-http-client",
    b"heritrix",
    b"http-client",
    b"httpclient",
    b"httrack",
    b"java/",
    b"libcurl",
    b"libwww",
    b"mediapartners-google",
    b"nagios",
    b"nutch",
    b"okhttp",
    b"panscient",
    b"php/",
    b"python",
    b"qwantify",
    b"scrapy",
    b"slurp",
    b"wget",
    b"wordpress",
    b"www-mechanize",
    b"xenu",
];

/// What the user agent `agent` gives away.
pub(super) fn judge_agent(agent: &[u8]) -> Option<BotReason> {
    if names_robot(agent) {
        return Some(BotReason::AgentName);
    }
    TOOL_WORDS.iter().any(|word| contains(agent, word)).then_some(BotReason::Tool)
}

/// Whether `text` names a bot, spider, crawler or monitor, in any case.
pub(super) fn names_robot(text: &[u8]) -> bool {
    // One pass looks for the four first letters, since every path of a log comes through here.
    text.iter().enumerate().any(|(at, byte)| {
        matches!(byte | 0x20, b'b' | b's' | b'c' | b'm')
            && ROBOT_WORDS.iter().any(|word| starts_with(&text[at..], word))
    })
}

/// Whether `path` is that of the robots exclusion protocol.
pub(super) fn is_robots_txt(path: &[u8]) -> bool {
    path.strip_prefix(b"/robots.txt").is_some_and(|rest| matches!(rest.first(), None | Some(b'?')))
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    (0..text.len()).any(|at| starts_with(&text[at..], word))
}

fn starts_with(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_judged_by_name_first_and_by_tool_second() {
        for (agent, reason) in [
            (
                "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                Some(BotReason::AgentName),
            ),
            ("Baiduspider+(+http://www.baidu.com/search/spider.htm)", Some(BotReason::AgentName)),
            ("jetmon/1.0 (Jetpack Site Uptime MONITOR by WordPress.com)", Some(BotReason::AgentName)),
            ("curl/7.88.1", Some(BotReason::Tool)),
            ("Java/1.8.0_73", Some(BotReason::Tool)),
            ("Mozilla/5.0 (compatible; Yahoo! Slurp)", Some(BotReason::Tool)),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:24.0) Gecko/20100101 Firefox/24.0", None),
            ("-", None),
            ("", None),
        ] {
            assert_eq!(judge_agent(agent.as_bytes()), reason, "{agent}");
        }
    }

    #[test]
    fn a_word_is_found_wherever_it_stands() {
        for text in ["bot", "a bot", "xBOT", "sspider", "mocrawler", "MoNiToR"] {
            assert!(names_robot(text.as_bytes()), "{text}");
        }
        for text in ["bo", "b o t", "spide", "monito", "craw"] {
            assert!(!names_robot(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn only_the_path_of_the_protocol_is_robots_txt() {
        assert!(is_robots_txt(b"/robots.txt"));
        assert!(is_robots_txt(b"/robots.txt?x"));
        assert!(!is_robots_txt(b"/robots.txt.bak"));
        assert!(!is_robots_txt(b"/blog/robots.txt"));
    }
}
