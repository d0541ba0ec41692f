//! Records into time order in bounded memory. Equal times keep the order of the log, so the result is that of a
//! stable sort, whichever way it is reached.
//!
//! Servers log a request when it ends, so lines are a little out of order. As long as each line fits a window that
//! slides over the log, records stream through it and are written in order at once. The first line that comes
//! too late for the window turns the sorter to an external merge sort (Knuth, *The Art of Computer Programming*,
//! volume 3, section 5.4): runs that fill the memory budget are sorted and written to a temporary file, then merged.
//! What the window has written by then is the first run; what it had put out and not yet written, sorted already,
//! begins the second.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::path::PathBuf;

use super::error::LogError;
use super::record::{LogRecord, RECORD_BYTES};
use super::spool::{RecordFile, RecordWriter, Spool, decode_at};

/// Runs that are merged at once. More would make each one's share of the budget too small for sequential reads.
const FAN_IN: usize = 64;

/// The most that is read at once from one run.
const RUN_BUFFER_BYTES_MAX: usize = 1 << 20;

/// The bounds of a sort.
#[derive(Clone, Debug)]
pub(super) struct SortLimits {
    /// How far behind the latest record the window reaches.
    pub window_seconds: u32,
    /// The most records in the window.
    pub window_records: usize,
    /// Memory for records outside the window. Where it is less than a run or a merge needs at least, they take
    /// that: one record for each run.
    pub memory_bytes: usize,
    /// Where temporary files go.
    pub directory: PathBuf,
}

/// Puts records in order of their seconds.
#[derive(Debug)]
pub(super) struct TimeSorter {
    limits: SortLimits,
    /// Sorted; nearly every record goes to its end.
    window: VecDeque<LogRecord>,
    latest: u32,
    /// Time of the record that left the window last.
    put_out: u64,
    /// Whether a record came too late for the window.
    late: bool,
    /// The end of the current run, in memory.
    buffer: Vec<LogRecord>,
    buffer_records_max: usize,
    /// Runs in the file, in the order of the log; the last one may still grow while no record was late.
    runs: Vec<Run>,
    file: Option<RecordWriter>,
}

/// Indices of a sorted run's first record and of the one after its last.
#[derive(Clone, Copy, Debug)]
struct Run {
    begin: u64,
    end: u64,
}

/// Records in order, and what it took.
#[derive(Debug)]
pub(super) struct Sorted {
    pub spool: Spool,
    /// Whether a record came too late for the window.
    pub late: bool,
    /// Runs that were merged; 0 if memory sufficed or the window did.
    pub runs: usize,
}

impl TimeSorter {
    pub fn new(limits: SortLimits) -> Self {
        // A stable sort takes as much again for its scratch.
        let buffer_records_max = (limits.memory_bytes / (2 * RECORD_BYTES)).max(1);
        Self {
            limits,
            window: VecDeque::new(),
            latest: 0,
            put_out: 0,
            late: false,
            buffer: Vec::new(),
            buffer_records_max,
            runs: Vec::new(),
            file: None,
        }
    }

    /// Adds the next record of the log.
    pub fn push(&mut self, record: LogRecord) -> Result<(), LogError> {
        if !self.late && record.time() < self.put_out {
            self.drain_window()?;
            self.late = true;
        }
        if self.late {
            return self.put(record);
        }
        let time = record.time();
        if self.window.back().is_none_or(|last| last.time() <= time) {
            self.window.push_back(record);
        } else {
            let place = self.window.partition_point(|other| other.time() <= time);
            self.window.insert(place, record);
        }
        self.latest = self.latest.max(record.second);
        let horizon = self.latest.saturating_sub(self.limits.window_seconds);
        while let Some(first) = self.window.front()
            && (first.second < horizon || self.window.len() > self.limits.window_records)
        {
            let record = *first;
            self.window.pop_front();
            self.put_out = record.time();
            self.put(record)?;
        }
        Ok(())
    }

    /// All records, in order.
    pub fn finish(mut self) -> Result<Sorted, LogError> {
        self.drain_window()?;
        if self.file.is_some() {
            self.spill()?;
        }
        let late = self.late;
        let Some(writer) = self.file else {
            self.buffer.sort_by_key(LogRecord::time);
            return Ok(Sorted { spool: Spool::Memory(self.buffer), late, runs: 0 });
        };
        drop(self.buffer);
        let runs = if self.runs.len() > 1 { self.runs.len() } else { 0 };
        let file = merge_all(writer.finish()?, self.runs, &self.limits)?;
        Ok(Sorted { spool: Spool::File(file), late, runs })
    }

    fn drain_window(&mut self) -> Result<(), LogError> {
        while let Some(first) = self.window.pop_front() {
            self.put(first)?;
        }
        Ok(())
    }

    fn put(&mut self, record: LogRecord) -> Result<(), LogError> {
        if self.buffer.len() == self.buffer_records_max {
            self.spill()?;
        }
        self.buffer.push(record);
        Ok(())
    }

    /// Writes the buffer to the file: to the end of the one run while no record was late, else as a run of its own.
    fn spill(&mut self) -> Result<(), LogError> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(RecordWriter::create(&self.limits.directory)?),
        };
        let begin = file.records();
        if self.late {
            self.buffer.sort_by_key(LogRecord::time);
        }
        for record in &self.buffer {
            file.push(record)?;
        }
        self.buffer.clear();
        let end = file.records();
        match self.runs.last_mut() {
            Some(run) if !self.late => run.end = end,
            _ if begin < end => self.runs.push(Run { begin, end }),
            _ => {}
        }
        Ok(())
    }
}

/// Merges neighbouring runs until one is left. Neighbours, since ties go to the run that comes first in the log.
fn merge_all(mut file: RecordFile, mut runs: Vec<Run>, limits: &SortLimits) -> Result<RecordFile, LogError> {
    while runs.len() > 1 {
        let mut out = RecordWriter::create(&limits.directory)?;
        let mut merged = Vec::with_capacity(runs.len().div_ceil(FAN_IN));
        for group in runs.chunks(FAN_IN) {
            let begin = out.records();
            merge(&file, group, limits.memory_bytes, &mut out)?;
            merged.push(Run { begin, end: out.records() });
        }
        file = out.finish()?;
        runs = merged;
    }
    Ok(file)
}

fn merge(
    file: &RecordFile,
    runs: &[Run],
    memory_bytes: usize,
    out: &mut RecordWriter,
) -> Result<(), LogError> {
    let records_max = (memory_bytes / runs.len()).min(RUN_BUFFER_BYTES_MAX) / RECORD_BYTES;
    let mut cursors: Vec<_> = runs.iter().map(|&run| RunCursor::new(run, records_max.max(1))).collect();
    // (time, run): the order of the log among equal times.
    let mut heads = BinaryHeap::with_capacity(cursors.len());
    for (run, cursor) in cursors.iter_mut().enumerate() {
        if let Some(record) = cursor.head(file)? {
            heads.push(Reverse((record.time(), run)));
        }
    }
    while let Some(mut first) = heads.peek_mut() {
        let Reverse((time, run)) = *first;
        let cursor = &mut cursors[run];
        // The head was read when the run was put into the heap; records of its time follow without a look there.
        let next = loop {
            match cursor.head(file)? {
                Some(record) if record.time() == time => out.push(&record)?,
                next => break next,
            }
            cursor.at += 1;
        };
        match next {
            Some(record) => *first = Reverse((record.time(), run)),
            None => {
                std::collections::binary_heap::PeekMut::pop(first);
            }
        }
    }
    Ok(())
}

/// Reads one run from its begin to its end.
struct RunCursor {
    /// Index in the file of the first record that is not in `bytes`.
    unread: u64,
    end: u64,
    bytes: Vec<u8>,
    /// Index in `bytes` of the head.
    at: usize,
    records_max: usize,
}

impl RunCursor {
    fn new(run: Run, records_max: usize) -> Self {
        Self { unread: run.begin, end: run.end, bytes: Vec::new(), at: 0, records_max }
    }

    /// The first record that was not passed yet.
    fn head(&mut self, file: &RecordFile) -> Result<Option<LogRecord>, LogError> {
        if let Some(record) = decode_at(&self.bytes, self.at) {
            return Ok(Some(record));
        }
        file.read(self.unread, self.end, self.records_max, &mut self.bytes)?;
        self.unread += (self.bytes.len() / RECORD_BYTES) as u64;
        self.at = 0;
        Ok(decode_at(&self.bytes, 0))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::record::{LogMethod, RecordFlags};
    use super::super::spool::RecordReader;
    use super::*;

    fn limits(window_seconds: u32, window_records: usize, memory_bytes: usize) -> SortLimits {
        SortLimits { window_seconds, window_records, memory_bytes, directory: std::env::temp_dir() }
    }

    /// Records of these seconds, each with its place in the log as its client.
    fn records(seconds: &[u32]) -> Vec<LogRecord> {
        let record = |(client, &second)| LogRecord {
            second,
            client,
            nanos: u32::MAX,
            path: u32::MAX,
            status: 200,
            method: LogMethod::Get,
            flags: RecordFlags::default(),
        };
        (0..).zip(seconds).map(record).collect()
    }

    fn sort(seconds: &[u32], limits: SortLimits) -> (Vec<LogRecord>, bool, usize) {
        let mut sorter = TimeSorter::new(limits);
        for record in records(seconds) {
            sorter.push(record).expect("room in the temporary directory");
        }
        let Sorted { spool, late, runs } = sorter.finish().expect("room in the temporary directory");
        let reader = RecordReader::new(Arc::new(spool), 0);
        let sorted = reader.map(|item| item.expect("readable records").record).collect();
        (sorted, late, runs)
    }

    fn stably_sorted(seconds: &[u32]) -> Vec<LogRecord> {
        let mut records = records(seconds);
        records.sort_by_key(LogRecord::time);
        records
    }

    #[test]
    fn a_line_at_the_edge_of_the_window_is_in_time_and_one_beyond_is_late() {
        for (seconds, late) in [([100, 160, 100], false), ([100, 161, 101], false), ([100, 161, 99], true)] {
            let (sorted, was_late, _) = sort(&seconds, limits(60, 1_000, 1 << 20));
            assert_eq!(was_late, late, "{seconds:?}");
            assert_eq!(sorted, stably_sorted(&seconds));
        }
    }

    #[test]
    fn a_full_window_puts_out_its_earliest_record() {
        // Three records fit; the fourth drives out second 5, so that 4 is late and 6 is not.
        let (sorted, late, _) = sort(&[5, 9, 9, 9, 6], limits(60, 3, 1 << 20));
        assert!(!late);
        assert_eq!(sorted, stably_sorted(&[5, 9, 9, 9, 6]));
        assert!(sort(&[5, 9, 9, 9, 4], limits(60, 3, 1 << 20)).1);
    }

    #[test]
    fn a_budget_below_one_record_sorts_with_runs_of_one() {
        // 300 runs are merged in two rounds of at most 64.
        let seconds: Vec<u32> = (0..300).map(|index| index * 7_919 % 101).collect();
        let (sorted, late, runs) = sort(&seconds, limits(0, 0, 4));
        assert!(late);
        assert!(runs > 64, "{runs} runs");
        assert_eq!(sorted, stably_sorted(&seconds));
    }

    #[test]
    fn ordered_records_beyond_the_budget_are_one_run_and_need_no_merge() {
        let seconds: Vec<u32> = (0..1_000).collect();
        let (sorted, late, runs) = sort(&seconds, limits(60, 100, 512));
        assert_eq!((late, runs), (false, 0));
        assert_eq!(sorted, stably_sorted(&seconds));
    }

    #[test]
    fn nothing_sorts_to_nothing() {
        assert_eq!(sort(&[], limits(60, 100, 0)), (Vec::new(), false, 0));
    }

    proptest! {
        /// Goal: the path through the sorter cannot be seen in its result. Method: any seconds, windows and budgets
        /// down to nothing, against the standard library's stable sort.
        #[test]
        fn any_order_any_window_and_any_budget_give_a_stable_sort(
            seconds in prop::collection::vec(0_u32..200, 0..400),
            drift in 0_u32..3,
            window_seconds in 0_u32..220,
            window_records in 0_usize..100,
            memory_bytes in prop_oneof![Just(0_usize), Just(4), 16..2_000_usize, Just(1 << 20)],
        ) {
            // With a drift, lines are displaced by up to 200 s in a log that moves on; without, they are shuffled.
            let seconds: Vec<u32> = (0..).zip(&seconds).map(|(index, second)| second + index * drift).collect();
            let (sorted, _, _) = sort(&seconds, limits(window_seconds, window_records, memory_bytes));
            prop_assert_eq!(sorted, stably_sorted(&seconds));
        }
    }
}
