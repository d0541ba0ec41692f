//! Where a prepared log's records are kept, and how runs read them: in memory if they fit the budget, in an unnamed
//! temporary file otherwise. Any number of readers read at the same time, each at its own place.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::SimTime;

use super::error::LogError;
use super::record::{LogRecord, RECORD_BYTES, ReplayedRequest};

/// Bytes that a reader fetches at once: large enough that a run spends its time elsewhere, small enough for one
/// reader per thread.
const CHUNK_BYTES: usize = 256 * 1024;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// The records of a log in time order.
#[derive(Debug)]
pub(super) enum Spool {
    Memory(Vec<LogRecord>),
    File(RecordFile),
}

impl Spool {
    pub fn len(&self) -> u64 {
        match self {
            Self::Memory(records) => records.len() as u64,
            Self::File(file) => file.records,
        }
    }
}

/// A temporary file of encoded records. It has no name, so that it goes with the process even if that is killed.
#[derive(Debug)]
pub(super) struct RecordFile {
    file: File,
    directory: PathBuf,
    records: u64,
}

impl RecordFile {
    /// Replaces `bytes` by the encoded records from `first` on: as many as there are before `end`, but at most
    /// `records_max`.
    pub fn read(
        &self,
        first: u64,
        end: u64,
        records_max: usize,
        bytes: &mut Vec<u8>,
    ) -> Result<(), LogError> {
        let records = (end.min(self.records).saturating_sub(first)).min(records_max as u64) as usize;
        bytes.resize(records * RECORD_BYTES, 0);
        read_exact_at(&self.file, bytes, first * RECORD_BYTES as u64)
            .map_err(|source| LogError::Spool { directory: self.directory.clone(), source })
    }

    /// Index of the first record from `index` on that is not of `second`, without keeping what lies between.
    fn end_of_second(&self, mut index: u64, second: u32) -> Result<u64, LogError> {
        const LOOK_AHEAD_RECORDS: usize = 256;
        let mut ahead = Vec::new();
        loop {
            self.read(index, self.records, LOOK_AHEAD_RECORDS, &mut ahead)?;
            let read = (ahead.len() / RECORD_BYTES) as u64;
            let same = ahead
                .as_chunks()
                .0
                .iter()
                .take_while(|bytes| LogRecord::decode(bytes).second == second)
                .count() as u64;
            index += same;
            if same < read || read == 0 {
                return Ok(index);
            }
        }
    }
}

/// Reads without moving the position that readers in other threads would share.
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset);
    #[cfg(windows)]
    {
        let mut read = 0;
        while read < bytes.len() {
            match std::os::windows::fs::FileExt::seek_read(file, &mut bytes[read..], offset + read as u64)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => read += more,
            }
        }
        Ok(())
    }
}

/// Writes a [`RecordFile`] from its beginning.
#[derive(Debug)]
pub(super) struct RecordWriter {
    out: RecordFile,
    pending: Vec<u8>,
}

impl RecordWriter {
    /// A new temporary file in `directory`.
    pub fn create(directory: &Path) -> Result<Self, LogError> {
        let file = tempfile::tempfile_in(directory)
            .map_err(|source| LogError::Spool { directory: directory.into(), source })?;
        let out = RecordFile { file, directory: directory.into(), records: 0 };
        Ok(Self { out, pending: Vec::with_capacity(CHUNK_BYTES + RECORD_BYTES) })
    }

    /// Records written so far.
    pub fn records(&self) -> u64 {
        self.out.records
    }

    pub fn push(&mut self, record: &LogRecord) -> Result<(), LogError> {
        self.pending.extend_from_slice(&record.encode());
        self.out.records += 1;
        if self.pending.len() >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), LogError> {
        self.out
            .file
            .write_all(&self.pending)
            .map_err(|source| LogError::Spool { directory: self.out.directory.clone(), source })?;
        self.pending.clear();
        Ok(())
    }

    pub fn finish(mut self) -> Result<RecordFile, LogError> {
        self.flush()?;
        Ok(self.out)
    }
}

/// The requests of a prepared log in time order, each with its place in time. Readers of the same log do not
/// disturb each other and may live in different threads. Memory: 256 KiB, however many requests share a second.
#[derive(Debug)]
pub struct RecordReader {
    spool: Arc<Spool>,
    /// The log's first second.
    start: u32,
    /// Index of the next record.
    next: u64,
    /// Indices of the first record of the current second and of the first one after it.
    second_begin: u64,
    second_end: u64,
    /// Encoded records from index `chunk_begin` on, if the spool is a file.
    chunk: Vec<u8>,
    chunk_begin: u64,
}

impl RecordReader {
    pub(super) fn new(spool: Arc<Spool>, start: u32) -> Self {
        Self { spool, start, next: 0, second_begin: 0, second_end: 0, chunk: Vec::new(), chunk_begin: 0 }
    }

    /// The record at `index`, which is not before that of the previous call.
    #[inline]
    fn record(&mut self, index: u64) -> Result<LogRecord, LogError> {
        match &*self.spool {
            Spool::Memory(records) => Ok(records[index as usize]),
            Spool::File(file) => {
                let at = (index - self.chunk_begin) as usize;
                if let Some(record) = decode_at(&self.chunk, at) {
                    return Ok(record);
                }
                file.read(index, file.records, CHUNK_BYTES / RECORD_BYTES, &mut self.chunk)?;
                self.chunk_begin = index;
                decode_at(&self.chunk, 0).ok_or_else(|| LogError::Spool {
                    directory: file.directory.clone(),
                    source: io::ErrorKind::UnexpectedEof.into(),
                })
            }
        }
    }

    /// Index of the first record after `index` that is not of `second`.
    fn end_of_second(&self, index: u64, second: u32) -> Result<u64, LogError> {
        match &*self.spool {
            Spool::Memory(records) => {
                let rest = &records[index as usize..];
                Ok(index + rest.iter().take_while(|record| record.second == second).count() as u64)
            }
            Spool::File(file) => {
                let mut end = index;
                while let Some(record) = decode_at(&self.chunk, (end - self.chunk_begin) as usize) {
                    if record.second != second {
                        return Ok(end);
                    }
                    end += 1;
                }
                file.end_of_second(end, second)
            }
        }
    }

    #[inline]
    fn advance(&mut self) -> Result<ReplayedRequest, LogError> {
        let record = self.record(self.next)?;
        if self.next == self.second_end {
            self.second_begin = self.next;
            self.second_end = self.end_of_second(self.next, record.second)?;
        }
        let (rank, size) = (self.next - self.second_begin, self.second_end - self.second_begin);
        self.next += 1;
        let whole = u64::from(record.second - self.start) * NANOS_PER_SECOND;
        let within = record.nanos().map_or_else(|| nanos_within(rank, size), u64::from);
        Ok(ReplayedRequest { at: SimTime(whole + within), record })
    }
}

impl Iterator for RecordReader {
    type Item = Result<ReplayedRequest, LogError>;

    /// The next request; after an error, none.
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.spool.len() {
            return None;
        }
        let result = self.advance();
        if result.is_err() {
            self.next = self.spool.len();
        }
        Some(result)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // At least one item, and not all that are left, if reading fails.
        let left = usize::try_from(self.spool.len() - self.next).ok();
        (usize::from(left != Some(0)), left)
    }
}

impl std::iter::FusedIterator for RecordReader {}

#[inline]
pub(super) fn decode_at(bytes: &[u8], index: usize) -> Option<LogRecord> {
    bytes.get(index * RECORD_BYTES..)?.first_chunk().map(LogRecord::decode)
}

/// Where in its second the request of `rank` among `size` stands, in nanoseconds: (rank + 0.5) / size of it.
#[inline]
fn nanos_within(rank: u64, size: u64) -> u64 {
    // The product stays below 2^64 for 9e9 requests in one second.
    (2 * rank + 1) * NANOS_PER_SECOND / (2 * size)
}

#[cfg(test)]
mod tests {
    use super::super::record::{LogMethod, RecordFlags};
    use super::*;

    fn records(seconds: impl IntoIterator<Item = u32>) -> Vec<LogRecord> {
        seconds
            .into_iter()
            .zip(0..)
            .map(|(second, client)| LogRecord {
                second,
                client,
                nanos: u32::MAX,
                path: u32::MAX,
                status: 200,
                method: LogMethod::Get,
                flags: RecordFlags::default(),
            })
            .collect()
    }

    fn in_file(records: &[LogRecord]) -> Spool {
        let mut writer = RecordWriter::create(&std::env::temp_dir()).expect("a temporary file");
        for record in records {
            writer.push(record).expect("room in the temporary directory");
        }
        Spool::File(writer.finish().expect("room in the temporary directory"))
    }

    fn read(spool: Spool, start: u32) -> Vec<ReplayedRequest> {
        RecordReader::new(Arc::new(spool), start).collect::<Result<_, _>>().expect("readable records")
    }

    #[test]
    fn requests_of_one_second_divide_it_evenly() {
        let replayed = read(Spool::Memory(records([70, 71, 71, 73, 73, 73, 73])), 70);
        let times: Vec<_> = replayed.iter().map(|request| request.at.0 / 1_000_000).collect();
        assert_eq!(times, [500, 1_250, 1_750, 3_125, 3_375, 3_625, 3_875]);
    }

    #[test]
    fn a_log_with_fractions_keeps_them() {
        let mut records = records([70, 71, 71]);
        records.iter_mut().zip([900_000_000, 0, 5]).for_each(|(record, nanos)| record.nanos = nanos);
        let times: Vec<_> = read(Spool::Memory(records), 70).iter().map(|request| request.at.0).collect();
        assert_eq!(times, [900_000_000, 1_000_000_000, 1_000_000_005]);
    }

    #[test]
    fn a_second_longer_than_a_chunk_is_placed_as_in_memory() {
        // The second of 40,000 records spans four chunks of 13,107 and begins within the first.
        let seconds = std::iter::repeat_n(5, 1_000)
            .chain(std::iter::repeat_n(6, 40_000))
            .chain(std::iter::repeat_n(9, 10));
        let records = records(seconds);
        let from_file = read(in_file(&records), 5);
        assert_eq!(from_file.len(), 41_010);
        assert!(from_file.is_sorted_by(|a, b| a.at < b.at), "no two requests share an instant");
        assert_eq!(from_file, read(Spool::Memory(records), 5));
    }

    #[test]
    fn readers_do_not_disturb_each_other() {
        let records = records((0..100_000).map(|index| index / 3));
        let spool = Arc::new(in_file(&records));
        let expected = read(Spool::Memory(records), 0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let reader = RecordReader::new(Arc::clone(&spool), 0);
                let expected = &expected;
                scope.spawn(move || {
                    assert!(reader.map(|item| item.expect("readable records")).eq(expected.iter().copied()));
                });
            }
        });
    }

    #[test]
    fn places_within_a_second_stay_in_it_and_in_order() {
        for size in [1, 2, 3, 1_000, 4_000_000_000] {
            assert!(nanos_within(size - 1, size) < NANOS_PER_SECOND);
            assert!(nanos_within(0, size) <= nanos_within(size / 2, size));
        }
        assert_eq!(nanos_within(0, 1), NANOS_PER_SECOND / 2);
    }
}
