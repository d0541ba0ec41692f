//! What is kept of a line for replay: 20 bytes.

use crate::engine::SimTime;

use super::parse::LogLine;
use super::paths::NO_PATH;

/// One request of a prepared log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LogRecord {
    /// Whole seconds since the Unix epoch, in UTC. (A log may come out of order, so its first second is known only
    /// when all lines have been read; [`ReplayedRequest::at`] counts from it.)
    pub second: u32,
    /// Index into [`super::PreparedLog::clients`].
    pub client: u32,
    /// Nanoseconds after the second; 4294967295 if the log writes whole seconds.
    pub nanos: u32,
    /// What stands for the path: [`super::PreparedLog::path`] tells it, if paths were kept.
    pub path: u32,
    /// The logged status; 0 if there was none.
    pub status: u16,
    /// The method, as far as balancers tell methods apart.
    pub method: LogMethod,
    /// What the path tells.
    pub flags: RecordFlags,
}

/// Bytes of a record in memory and in a file.
pub(super) const RECORD_BYTES: usize = 20;
const _: () = assert!(size_of::<LogRecord>() == RECORD_BYTES);

/// Stands for a time without a fraction of its second.
const NO_NANOS: u32 = u32::MAX;

/// Methods, as far as balancers tell them apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum LogMethod {
    /// GET and HEAD: safe, so clients send them again after a reset.
    Get = 0,
    /// POST, LOCK and PATCH: not idempotent, so nginx does not pass them to another server once they were sent
    /// (nginx 1.22.1 `ngx_http_upstream.c`, `ngx_http_upstream_next`).
    Post = 1,
    /// All others, and requests that are none.
    Other = 2,
}

/// What a request's path tells about it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct RecordFlags(u8);

impl RecordFlags {
    const STATIC_OBJECT: u8 = 1;
    const BOT_PATH: u8 = 2;

    /// Flags from their meanings.
    pub const fn new(static_object: bool, bot_path: bool) -> Self {
        let static_object = if static_object { Self::STATIC_OBJECT } else { 0 };
        let bot_path = if bot_path { Self::BOT_PATH } else { 0 };
        Self(static_object | bot_path)
    }

    /// Whether the path ends like a file that a web server sends by itself (`.css`, `.png`, ...): such requests need
    /// no session.
    pub const fn static_object(self) -> bool {
        self.0 & Self::STATIC_OBJECT != 0
    }

    /// Whether the path names a bot, spider, crawler or monitor; `/robots.txt` does.
    pub const fn bot_path(self) -> bool {
        self.0 & Self::BOT_PATH != 0
    }
}

/// A record with its place in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplayedRequest {
    /// Time since the log's first second began. A log of whole seconds has the k-th of the m requests of one second, from
    /// 0, placed at (k + 0.5) / m of it: log order is kept, and the density of a busy second is.
    pub at: SimTime,
    /// The request.
    pub record: LogRecord,
}

impl LogRecord {
    /// The record of `line`, whose client and path have no numbers yet.
    pub(super) fn new(line: &LogLine<'_>, bot_path: bool) -> Self {
        let method = match line.method {
            Some(b"GET" | b"HEAD") => LogMethod::Get,
            Some(b"POST" | b"LOCK" | b"PATCH") => LogMethod::Post,
            _ => LogMethod::Other,
        };
        Self {
            second: line.time,
            client: 0,
            nanos: line.nanos.unwrap_or(NO_NANOS),
            path: NO_PATH,
            status: line.status,
            method,
            flags: RecordFlags::new(line.path.is_some_and(is_static_path), bot_path),
        }
    }

    /// What follows the second, if the log says it.
    pub fn nanos(&self) -> Option<u32> {
        (self.nanos != NO_NANOS).then_some(self.nanos)
    }

    /// When, in the order in which records are sorted; a whole second comes before its fractions.
    #[inline]
    pub(super) fn time(&self) -> u64 {
        u64::from(self.second) << 32 | u64::from(self.nanos().unwrap_or(0))
    }

    pub(super) fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        bytes[0..4].copy_from_slice(&self.second.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.client.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.nanos.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.path.to_le_bytes());
        bytes[16..18].copy_from_slice(&self.status.to_le_bytes());
        bytes[18] = self.method as u8;
        bytes[19] = self.flags.0;
        bytes
    }

    #[inline]
    pub(super) fn decode(bytes: &[u8; RECORD_BYTES]) -> Self {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        Self {
            second: word(0),
            client: word(4),
            nanos: word(8),
            path: word(12),
            status: u16::from_le_bytes([bytes[16], bytes[17]]),
            method: match bytes[18] {
                0 => LogMethod::Get,
                1 => LogMethod::Post,
                _ => LogMethod::Other,
            },
            flags: RecordFlags(bytes[19]),
        }
    }
}

/// File name extensions that sites serve without their application: scripts and styles, images, fonts, media and
/// downloads (the usual `location ~* \.(css|js|png|...)$` of nginx configurations).
const STATIC_EXTENSIONS: [&[u8]; 37] = [
    b"avi", b"avif", b"bmp", b"bz2", b"css", b"doc", b"docx", b"eot", b"flv", b"gif", b"gz", b"htc", b"ico",
    b"jpeg", b"jpg", b"js", b"map", b"mjs", b"mov", b"mp3", b"mp4", b"ogg", b"otf", b"pdf", b"png", b"rar",
    b"svg", b"svgz", b"swf", b"tgz", b"ttf", b"txt", b"webm", b"webp", b"woff", b"woff2", b"zip",
];

/// Whether `path`, without query and fragment, ends in one of the extensions, in any case.
pub(super) fn is_static_path(path: &[u8]) -> bool {
    let end = path.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(path.len());
    let path = &path[..end];
    let Some(dot) = path.iter().rposition(|byte| matches!(byte, b'.' | b'/')) else { return false };
    let extension = &path[dot + 1..];
    path[dot] == b'.' && STATIC_EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::super::parse::tests::combined;
    use super::*;

    #[test]
    fn encoded_records_decode_to_themselves() {
        for method in [LogMethod::Get, LogMethod::Post, LogMethod::Other] {
            let record = LogRecord {
                second: 0x0102_0304,
                client: u32::MAX,
                nanos: 0x0A0B_0C0D,
                path: 0x0E0F_1011,
                status: 499,
                method,
                flags: RecordFlags::new(false, true),
            };
            assert_eq!(LogRecord::decode(&record.encode()), record);
        }
    }

    #[test]
    fn static_objects_are_known_by_the_end_of_their_path() {
        for path in ["/a.css", "/A/B.JPG", "/x.tar.gz?v=1.0", "/favicon.ico#top"] {
            assert!(is_static_path(path.as_bytes()), "{path}");
        }
        for path in ["/", "/a.php", "/css", "/a.css/", "/v1.js/run", "/index.html", "/get?file=a.png", "/."] {
            assert!(!is_static_path(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn methods_are_classed_and_a_whole_second_has_no_fraction() {
        let line = |request: &str| {
            let text = format!("192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"{request}\" 200 1");
            combined(text.as_bytes(), |line| LogRecord::new(&line.expect("a valid line"), false))
        };
        assert_eq!(line("GET / HTTP/1.1").nanos(), None);
        assert_eq!(line("HEAD / HTTP/1.1").method, LogMethod::Get);
        assert_eq!(line("PATCH / HTTP/1.1").method, LogMethod::Post);
        assert_eq!(line("PUT / HTTP/1.1").method, LogMethod::Other);
        assert_eq!(line("-").method, LogMethod::Other);
        assert!(line("GET /a.png HTTP/1.1").flags.static_object());
    }
}
