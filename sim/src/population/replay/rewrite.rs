//! A log written anew with pseudonyms in place of its clients' addresses.

use std::io::{self, Read, Write};

use super::error::LogError;
use super::format::{LogFormat, SessionsBy, detect};
use super::lines::{Line, Lines};
use super::parse::parse_ip;
use super::pseudonym::Pseudonyms;

/// What became of a log's lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rewritten {
    /// Lines that were written.
    pub written: u64,
    /// Lines that were left out: they could not be read, so what they name could not be hidden.
    pub left_out: u64,
}

/// Copies `input` to `out`, the addresses of clients and those that proxies forwarded replaced. Nothing else is: a query or a
/// referring page may name people too. `format` of `None` is judged by the first lines.
///
/// # Errors
/// If the log cannot be read or its format is not known; a failure to write is one of reading, with the system's words.
pub fn rewrite(
    name: &str,
    input: impl Read,
    format: Option<&LogFormat>,
    pseudonyms: &Pseudonyms,
    out: &mut impl Write,
) -> Result<Rewritten, LogError> {
    let file = || name.to_owned();
    let mut lines = Lines::new(input).map_err(|source| LogError::Read { file: file(), line: 1, source })?;
    let by = SessionsBy::AddressAgent;
    let format_error = |source| LogError::Format { file: file(), source };
    let mut parser = match format {
        Some(format) => format.parser(&by, false).map_err(format_error)?,
        None => match detect(lines.head(), &by, false).map_err(format_error)? {
            Ok((_, parser)) => parser,
            Err(nothing) => return Err(LogError::UnknownFormat { file: file(), nothing }),
        },
    };
    let mut done = Rewritten::default();
    loop {
        let number = lines.number + 1;
        let failed = |source: io::Error| LogError::Read { file: file(), line: number, source };
        let Some(line) = lines.next_line().map_err(failed)? else { return Ok(done) };
        let Line::Whole(text) = line else {
            done.left_out += 1;
            continue;
        };
        if parser.parse(text).is_err() {
            done.left_out += u64::from(!text.trim_ascii().is_empty());
            continue;
        }
        let mut at = 0;
        for range in parser.names() {
            out.write_all(&text[at..range.start]).map_err(failed)?;
            for (number, part) in text[range.clone()].split(|&byte| byte == b',').enumerate() {
                let space = part.len() - part.trim_ascii_start().len();
                if number > 0 {
                    out.write_all(b",").map_err(failed)?;
                }
                out.write_all(&part[..space]).map_err(failed)?;
                write!(out, "{}", replaced(part.trim_ascii(), pseudonyms)).map_err(failed)?;
            }
            at = range.end;
        }
        out.write_all(&text[at..]).map_err(failed)?;
        if !text.ends_with(b"\n") {
            out.write_all(b"\n").map_err(failed)?;
        }
        done.written += 1;
    }
}

/// The pseudonym of an address or a name; what stands for nothing stays.
fn replaced(text: &[u8], pseudonyms: &Pseudonyms) -> String {
    match text {
        b"-" | b"" | b"unknown" => String::from_utf8_lossy(text).into_owned(),
        _ => match parse_ip(text) {
            Some(address) => pseudonyms.address(address).to_string(),
            None => pseudonyms.name(text),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_replaced_wherever_the_format_has_them_and_nowhere_else() {
        let key = "00112233445566778899aabbccddeeff".repeat(2);
        let pseudonyms: Pseudonyms = key.parse().expect("a key");
        let format: LogFormat = "main".parse().expect("a format");
        let line = |address: &str, forwarded: &str| {
            format!(
                "{address} - - [20/Feb/2016:00:00:45 -0500] \"GET /192.0.2.1 HTTP/1.1\" 200 1 \"-\" \"A\" \"{forwarded}\"\n"
            )
        };
        let text = [
            line("192.0.2.1", "198.51.100.7, 192.0.2.9"),
            "192.0.2.1 noise\n".into(),
            line("a.example", "-"),
        ]
        .concat();
        let mut out = Vec::new();
        let done = rewrite("log", text.as_bytes(), Some(&format), &pseudonyms, &mut out).expect("a log");
        assert_eq!(done, Rewritten { written: 2, left_out: 1 });
        let pseudonym = |address: &str| pseudonyms.address(address.parse().expect("an address")).to_string();
        let forwarded = format!("{}, {}", pseudonym("198.51.100.7"), pseudonym("192.0.2.9"));
        let expected = line(&pseudonym("192.0.2.1"), &forwarded) + &line(&pseudonyms.name(b"a.example"), "-");
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }
}
