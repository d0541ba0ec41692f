//! Lines of a file that may be compressed by gzip or zstd, in bounded memory.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

/// The longest line that is read. nginx limits the request line and each header to 8 KiB
/// (`large_client_header_buffers`), Apache to 8,190 bytes (`LimitRequestLine`, `LimitRequestFieldSize`), and escaping
/// makes at most four bytes of one: three fields of 32 KiB and the rest fit.
pub(super) const LINE_BYTES_MAX: usize = 131_072;

const BUFFER_BYTES: usize = 256 * 1024;

/// The first bytes of a gzip member (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];

/// The first bytes of a zstd frame (RFC 8878, section 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// The beginning of the text from which its format is judged.
const HEAD_BYTES: u64 = 64 * 1024;

/// The lines of one file.
pub(super) struct Lines<'a> {
    /// The first bytes of the text, once more.
    head: Vec<u8>,
    input: Box<dyn BufRead + 'a>,
    line: Vec<u8>,
    /// Lines begun so far; the number, from 1, of the one that was returned last.
    pub number: u64,
}

/// A line as it was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Line<'a> {
    /// The line with its end.
    Whole(&'a [u8]),
    /// The beginning of a line that is longer than [`LINE_BYTES_MAX`].
    TooLong(&'a [u8]),
}

impl<'a> Lines<'a> {
    /// Reads `input`, decompressing it if it begins like gzip or zstd, whatever its name. Rotated logs are often joined by
    /// plain concatenation, so there may be several gzip members or zstd frames.
    ///
    /// # Errors
    /// If the first bytes cannot be read.
    pub fn new(mut input: impl Read + 'a) -> io::Result<Self> {
        let mut magic = Vec::with_capacity(ZSTD_MAGIC.len());
        input.by_ref().take(ZSTD_MAGIC.len() as u64).read_to_end(&mut magic)?;
        let (gzip, zstd) = (magic.starts_with(&GZIP_MAGIC), magic == ZSTD_MAGIC);
        let whole = Cursor::new(magic).chain(input);
        let buffered = |input| BufReader::with_capacity(BUFFER_BYTES, input);
        let mut text: Box<dyn Read + 'a> = if gzip {
            Box::new(MultiGzDecoder::new(buffered(Box::new(whole) as Box<dyn Read>)))
        } else if zstd {
            Box::new(zstd::Decoder::new(whole)?)
        } else {
            Box::new(whole)
        };
        let mut head = Vec::new();
        let read = text.by_ref().take(HEAD_BYTES).read_to_end(&mut head);
        // What is broken further on is told by the line that cannot be read.
        let failed = read.err().map(|error| io::Error::new(error.kind(), error));
        let input = buffered(Box::new(Cursor::new(head.clone()).chain(Failed(failed)).chain(text)));
        Ok(Self { head, input: Box::new(input), line: Vec::new(), number: 0 })
    }

    /// The first bytes of the text, decompressed, from which its format may be judged; they are not consumed.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The next line, or `None` at the end.
    ///
    /// # Errors
    /// If reading or decompressing fails.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        self.number += 1;
        // One byte more than the limit leaves room for the end of the longest line.
        let read = self.input.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        if read > LINE_BYTES_MAX && self.line.last() != Some(&b'\n') {
            self.input.skip_until(b'\n')?;
            return Ok(Some(Line::TooLong(&self.line)));
        }
        Ok(Some(Line::Whole(&self.line)))
    }
}

/// Nothing to read, or an error once.
struct Failed(Option<io::Error>);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).and_then(|()| encoder.finish()).expect("writing to memory")
    }

    /// The lines of `input`; a line that is too long appears as `...`.
    fn lines(input: impl Read) -> io::Result<Vec<String>> {
        let mut lines = Lines::new(input)?;
        let mut found = Vec::new();
        while let Some(line) = lines.next_line()? {
            found.push(match line {
                Line::Whole(text) => String::from_utf8_lossy(text).into_owned(),
                Line::TooLong(_) => "...".into(),
            });
        }
        Ok(found)
    }

    #[test]
    fn plain_and_compressed_files_give_the_same_lines() {
        let text = b"one\r\n\ntwo\nlast";
        let expected = ["one\r\n", "\n", "two\n", "last"];
        assert_eq!(lines(&text[..]).expect("plain"), expected);
        assert_eq!(lines(&gzip(text)[..]).expect("gzip"), expected);
        let zstd = zstd::encode_all(&text[..], 1).expect("writing to memory");
        assert_eq!(lines(&[&zstd[..], &zstd].concat()[..]).expect("zstd")[3..5], ["lastone\r\n", "\n"]);
        assert!(lines(&zstd[..zstd.len() - 3]).is_err(), "a truncated frame");
        assert_eq!(lines(&b""[..]).expect("empty"), [""; 0]);
        assert_eq!(lines(&b"\x1f"[..]).expect("one byte"), ["\u{1f}"]);
    }

    #[test]
    fn gzip_members_are_read_one_after_another() {
        // The second member begins in the middle of a line.
        let joined = [gzip(b"one\ntw"), gzip(b"o\n"), gzip(b""), gzip(b"three\n")].concat();
        assert_eq!(lines(&joined[..]).expect("gzip"), ["one\n", "two\n", "three\n"]);
    }

    #[test]
    fn a_truncated_gzip_file_is_an_error() {
        let whole = gzip(b"one\ntwo\n");
        assert!(lines(&whole[..whole.len() - 5]).is_err());
    }

    #[test]
    fn a_line_beyond_the_limit_is_reported_and_the_next_one_is_read() {
        let longest = vec![b'x'; LINE_BYTES_MAX];
        let text = [&longest[..], b"\n", &longest, b"x\n", &longest, &longest, b"\nnext\n"].concat();
        let found = lines(&text[..]).expect("plain");
        assert_eq!(found.len(), 4);
        assert_eq!(found[0].len(), LINE_BYTES_MAX + 1);
        assert_eq!(found[1..], ["...", "...", "next\n"]);
    }

    #[test]
    fn a_reader_that_gives_one_byte_at_a_time_is_still_recognised() {
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let length = buffer.len().min(1);
                self.0.read(&mut buffer[..length])
            }
        }
        assert_eq!(lines(Slow(&gzip(b"one\n"))).expect("gzip"), ["one\n"]);
    }
}
