//! What syslog puts before a line: `Feb 20 00:00:45 web1 nginx: ` (RFC 3164, section 4.1) or, as rsyslog writes it by now,
//! `2016-02-20T00:00:45.123+00:00 web1 nginx[17]: `, perhaps behind a priority in angle brackets.

/// Bytes of the head that `line` begins with; 0 if it has none.
#[inline]
pub(super) fn syslog_head(line: &[u8]) -> usize {
    // Addresses and objects, with which lines begin otherwise, rarely have such a letter or a dash in the fifth place.
    match line {
        [b'A'..=b'Z', ..] | [_, _, _, _, b'-', ..] | [b'<', ..] => after_head(line).unwrap_or(0),
        _ => 0,
    }
}

fn after_head(line: &[u8]) -> Option<usize> {
    let text = match line.strip_prefix(b"<") {
        Some(rest) => &rest[rest.iter().position(|&byte| byte == b'>')? + 1..],
        None => line,
    };
    let clock = match text {
        [b'A'..=b'Z', b'a'..=b'z', b'a'..=b'z', b' ', b' ' | b'0'..=b'3', b'0'..=b'9', b' ', clock @ ..] => {
            clock
        }
        [_, _, _, _, b'-', _, _, b'-', _, _, b'T', clock @ ..] => clock,
        _ => return None,
    };
    if !matches!(clock, [_, _, b':', _, _, b':', ..]) {
        return None;
    }
    // Time, host and a tag with a colon, which end where the third word does.
    let mut words = clock.split_inclusive(|&byte| byte == b' ');
    let (time, host, tag) = (words.next()?, words.next()?, words.next()?);
    let length = time.len() + host.len() + tag.len();
    tag.ends_with(b": ").then(|| line.len() - clock.len() + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_both_kinds_are_known_and_lines_without_one_are_left_alone() {
        for head in [
            "Feb 20 00:00:45 web1 nginx: ",
            "Feb  6 12:14:14 localhost haproxy[14389]: ",
            "2016-02-20T00:00:45.123456+01:00 web1 nginx[17]: ",
            "<190>Feb 20 00:00:45 web1 nginx: ",
        ] {
            assert_eq!(syslog_head(format!("{head}192.0.2.7 - - [x]").as_bytes()), head.len(), "{head}");
        }
        for line in [
            "192.0.2.7 - - [20/Feb/2016:00:00:45 -0500] \"GET / HTTP/1.1\"",
            "Host.example - - [20/Feb/2016:00:00:45 -0500]",
            "2016-02-20T00:00:45Z 192.0.2.7 GET / 200",
            "2016-02-20T00:00:45Z",
            "<",
            "",
        ] {
            assert_eq!(syslog_head(line.as_bytes()), 0, "{line}");
        }
    }
}
