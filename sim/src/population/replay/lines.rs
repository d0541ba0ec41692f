//! Lines of a file that may be compressed by gzip or zstd, in bounded memory.

use std::io::{self, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use memchr::memchr;

/// The longest line that is read. nginx limits the request line and each header to 8 KiB
/// (`large_client_header_buffers`), Apache to 8,190 bytes (`LimitRequestLine`, `LimitRequestFieldSize`), and escaping
/// makes at most four bytes of one: three fields of 32 KiB and the rest fit.
pub(super) const LINE_BYTES_MAX: usize = 131_072;

/// More than a line, so that one that was cut at the buffer's end has room to be completed.
const BUFFER_BYTES: usize = 512 * 1024;

/// The first bytes of a gzip member (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];

/// The first bytes of a zstd frame (RFC 8878, section 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// The beginning of the text from which its format is judged.
const HEAD_BYTES: usize = 64 * 1024;

/// The lines of one file, as parts of its buffer.
pub(super) struct Lines<'a> {
    input: Box<dyn Read + 'a>,
    buffer: Vec<u8>,
    /// The part of the buffer that was read and not yet handed out.
    start: usize,
    end: usize,
    /// Whether the line that begins at `start` is the rest of one that was too long.
    skips: bool,
    ended: bool,
    /// What is broken further on, told by the line that cannot be read.
    failed: Option<io::Error>,
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
        let input: Box<dyn Read + 'a> = if gzip {
            Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, whole)))
        } else if zstd {
            Box::new(zstd::Decoder::new(whole)?)
        } else {
            Box::new(whole)
        };
        let mut lines = Self {
            input,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            skips: false,
            ended: false,
            failed: None,
            number: 0,
        };
        while lines.end < HEAD_BYTES && !lines.ended {
            lines.read_more();
        }
        match lines.head() {
            [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => {
                let why = "it is UTF-16; convert it first: `iconv -f UTF-16 -t UTF-8`";
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            [0xEF, 0xBB, 0xBF, ..] => lines.start = 3,
            _ => {}
        }
        Ok(lines)
    }

    /// The first bytes of the text, decompressed, from which its format may be judged; they are not consumed.
    pub fn head(&self) -> &[u8] {
        &self.buffer[self.start..self.end.min(HEAD_BYTES)]
    }

    /// The next line, or `None` at the end.
    ///
    /// # Errors
    /// If reading or decompressing fails.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.number += 1;
        let mut searched = 0;
        loop {
            let unsearched = &self.buffer[self.start + searched..self.end];
            if let Some(found) = memchr(b'\n', unsearched) {
                let length = searched + found + 1;
                let start = self.start;
                self.start += length;
                if std::mem::take(&mut self.skips) {
                    searched = 0;
                    continue;
                }
                let line = &self.buffer[start..start + length];
                // The longest line has its end besides.
                return Ok(Some(if length > LINE_BYTES_MAX + 1 {
                    Line::TooLong(line)
                } else {
                    Line::Whole(line)
                }));
            }
            searched = self.end - self.start;
            if self.skips {
                (self.start, searched) = (self.end, 0);
            } else if searched > LINE_BYTES_MAX {
                self.skips = true;
                let line = self.start..self.end;
                self.start = self.end;
                return Ok(Some(Line::TooLong(&self.buffer[line])));
            }
            if self.ended {
                if let Some(error) = self.failed.take() {
                    return Err(error);
                }
                let rest = self.start..self.end;
                self.start = self.end;
                return Ok((!rest.is_empty()).then(|| Line::Whole(&self.buffer[rest])));
            }
            self.read_more();
        }
    }

    /// Reads behind what is there, which makes room for it at the front if it must.
    fn read_more(&mut self) {
        if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        match self.input.read(&mut self.buffer[self.end..]) {
            Ok(0) => self.ended = true,
            Ok(read) => self.end += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => (self.ended, self.failed) = (true, Some(error)),
        }
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
    fn a_byte_order_mark_is_no_part_of_the_first_line_and_utf_16_is_refused() {
        assert_eq!(lines(&b"\xEF\xBB\xBFone\n"[..]).expect("plain"), ["one\n"]);
        let error = lines(&b"\xFF\xFEo\0n\0"[..]).expect_err("two bytes a character").to_string();
        assert!(error.contains("iconv"), "{error}");
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
