//! The table of a sweep: a row for each run, phase and metric, as Parquet and CSV.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use csv::Writer;
use evenkeel_sim::experiment::sweep::{RunValues, Sweep, SweepRun};
use evenkeel_sim::metrics::Phase;
use evenkeel_sim::metrics::catalogue::METRICS;
use parquet::basic::{Compression, Repetition, Type as Physical};
use parquet::column::reader::{ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::{Known, SweepFileError};
use crate::parquet_columns::{column, text, write};

/// Version of the table's columns.
const SCHEMA_VERSION: &str = "2";
/// Runs in a row group: some hundred thousand rows.
const RUNS_PER_GROUP: usize = 1_000;
/// Columns before those of the swept fields.
const LEADING: [(&str, Physical); 6] = [
    ("run_id", Physical::INT64),
    ("point", Physical::INT64),
    ("strategy", Physical::BYTE_ARRAY),
    ("replication", Physical::INT64),
    ("seed", Physical::INT64),
    ("warmup_s", Physical::DOUBLE),
];

/// A column of the swept fields: numbers if all its values are.
struct Field {
    name: String,
    numbers: bool,
}

fn fields(sweep: &Sweep) -> Vec<Field> {
    let points = sweep.points();
    let names = points.first().map_or(&[][..], |point| point.values.as_slice());
    names
        .iter()
        .enumerate()
        .map(|(place, (name, _))| Field {
            name: name.clone(),
            numbers: points.iter().all(|point| point.values[place].1.parse::<f64>().is_ok()),
        })
        .collect()
}

/// A value as tables show it: text without its quotes.
fn bare(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

fn schema(fields: &[Field]) -> Result<Type, ParquetError> {
    let mut columns = Vec::new();
    for (name, physical) in LEADING {
        columns.push(column(name, physical, Repetition::REQUIRED)?);
    }
    for field in fields {
        let physical = if field.numbers { Physical::DOUBLE } else { Physical::BYTE_ARRAY };
        columns.push(column(&field.name, physical, Repetition::REQUIRED)?);
    }
    columns.push(column("phase", Physical::BYTE_ARRAY, Repetition::REQUIRED)?);
    columns.push(column("metric", Physical::BYTE_ARRAY, Repetition::REQUIRED)?);
    columns.push(column("value", Physical::DOUBLE, Repetition::OPTIONAL)?);
    Type::group_type_builder("sweep").with_fields(columns).build()
}

/// Runs as a Parquet file that is to be at `path`.
pub(super) fn parquet(sweep: &Sweep, known: &Known, path: &Path) -> Result<Vec<u8>, SweepFileError> {
    encode(sweep, known).map_err(|error| SweepFileError::Part {
        part: path.to_owned(),
        what: format!("cannot be written: {error}"),
    })
}

fn encode(sweep: &Sweep, known: &Known) -> Result<Vec<u8>, ParquetError> {
    let fields = fields(sweep);
    let own = |key: &str, value: &str| KeyValue::new(format!("evenkeel.{key}"), value.to_owned());
    let metadata = vec![
        own("schema_version", SCHEMA_VERSION),
        own("version", env!("CARGO_PKG_VERSION")),
        own("sweep", sweep.hash()),
    ];
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(Some(metadata))
        .build();
    let mut writer = SerializedFileWriter::new(Vec::new(), Arc::new(schema(&fields)?), Arc::new(properties))?;
    let runs: Vec<(u64, SweepRun, &RunValues)> =
        known.iter().map(|(&number, values)| (number, sweep.at(number), values)).collect();
    for group in runs.chunks(RUNS_PER_GROUP) {
        let mut rows = writer.next_row_group()?;
        let scenario = |which: &SweepRun| &sweep.points()[which.point].loaded.scenario;
        let whole =
            |pick: &dyn Fn(u64, &SweepRun) -> u64| per_row(group, |number, which| pick(number, which) as i64);
        write::<Int64Type>(&mut rows, &whole(&|number, _| number), None)?;
        write::<Int64Type>(&mut rows, &whole(&|_, which| which.point as u64), None)?;
        let strategies = per_row(group, |_, which| text(&scenario(which).strategies[which.strategy].name));
        write::<ByteArrayType>(&mut rows, &strategies, None)?;
        write::<Int64Type>(&mut rows, &whole(&|_, which| u64::from(which.replication)), None)?;
        write::<Int64Type>(&mut rows, &whole(&|_, which| scenario(which).seed), None)?;
        let warmups = group.iter().flat_map(|(_, _, run)| vec![run.warmup_s; self::rows(run)]);
        write::<DoubleType>(&mut rows, &warmups.collect::<Vec<_>>(), None)?;
        for (place, field) in fields.iter().enumerate() {
            let value = |which: &SweepRun| sweep.points()[which.point].values[place].1.as_str();
            if field.numbers {
                let numbers = per_row(group, |_, which| value(which).parse().unwrap_or(f64::NAN));
                write::<DoubleType>(&mut rows, &numbers, None)?;
            } else {
                write::<ByteArrayType>(
                    &mut rows,
                    &per_row(group, |_, which| text(bare(value(which)))),
                    None,
                )?;
            }
        }
        let values = || group.iter().flat_map(|(_, _, run)| run.phases.iter());
        let phases = values().flat_map(|(phase, of_phase)| of_phase.iter().map(|_| text(phase.name())));
        write::<ByteArrayType>(&mut rows, &phases.collect::<Vec<_>>(), None)?;
        let metrics = values().flat_map(|_| METRICS.iter().map(|metric| text(metric.name)));
        write::<ByteArrayType>(&mut rows, &metrics.collect::<Vec<_>>(), None)?;
        let all: Vec<Option<f64>> = values().flat_map(|(_, of_phase)| of_phase.iter().copied()).collect();
        let defined: Vec<i16> = all.iter().map(|value| i16::from(value.is_some())).collect();
        write::<DoubleType>(&mut rows, &all.into_iter().flatten().collect::<Vec<_>>(), Some(&defined))?;
        rows.close()?;
    }
    writer.into_inner()
}

/// What is the same in all rows of a run, once for each of its rows.
fn per_row<T: Clone>(group: &[(u64, SweepRun, &RunValues)], pick: impl Fn(u64, &SweepRun) -> T) -> Vec<T> {
    group.iter().flat_map(|(number, which, run)| vec![pick(*number, which); rows(run)]).collect()
}

fn rows(run: &RunValues) -> usize {
    run.phases.iter().map(|(_, of_phase)| of_phase.len()).sum()
}

/// The runs of a part, which must be of the sweep called `hash`.
pub(super) fn read(path: &Path, hash: &str) -> Result<Known, SweepFileError> {
    let broken = |what: String| SweepFileError::Part { part: path.to_owned(), what };
    let file = File::open(path).map_err(SweepFileError::io(path))?;
    let known = decode(file, hash).map_err(|error| broken(format!("cannot be read: {error}")))?;
    known.ok_or_else(|| broken("it is of another sweep or version".to_owned()))
}

fn decode(file: File, hash: &str) -> Result<Option<Known>, ParquetError> {
    let reader = SerializedFileReader::new(file)?;
    let metadata = reader.metadata().file_metadata();
    let own = metadata.key_value_metadata().into_iter().flatten();
    let has =
        |key: &str, value: &str| own.clone().any(|it| it.key == key && it.value.as_deref() == Some(value));
    if !has("evenkeel.sweep", hash) || !has("evenkeel.schema_version", SCHEMA_VERSION) {
        return Ok(None);
    }
    let columns = metadata.schema_descr().num_columns();
    let mut known = Known::new();
    for number in 0..reader.num_row_groups() {
        let group = reader.get_row_group(number)?;
        let rows = group.metadata().num_rows() as usize;
        let runs = column_of::<Int64Type>(get_typed_column_reader(group.get_column_reader(0)?), rows)?.0;
        let phases =
            column_of::<ByteArrayType>(get_typed_column_reader(group.get_column_reader(columns - 3)?), rows)?
                .0;
        let (values, defined) =
            column_of::<DoubleType>(get_typed_column_reader(group.get_column_reader(columns - 1)?), rows)?;
        let place = LEADING.iter().position(|(name, _)| *name == "warmup_s").unwrap_or_default();
        let warmups =
            column_of::<DoubleType>(get_typed_column_reader(group.get_column_reader(place)?), rows)?.0;
        let mut values = values.into_iter();
        let mut row = 0;
        while row < rows {
            let Some(phase) =
                Phase::ALL.into_iter().find(|phase| phase.name().as_bytes() == phases[row].data())
            else {
                return Ok(None);
            };
            let of_phase = (row..(row + METRICS.len()).min(rows))
                .map(|at| if defined[at] == 1 { values.next() } else { None })
                .collect();
            let run = known.entry(runs[row] as u64).or_default();
            run.warmup_s = warmups[row];
            run.phases.push((phase, of_phase));
            row += METRICS.len();
        }
    }
    Ok(Some(known))
}

/// A column's values, and whether each row has one.
fn column_of<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    rows: usize,
) -> Result<(Vec<T::T>, Vec<i16>), ParquetError> {
    let (mut values, mut defined) = (Vec::new(), Vec::new());
    let mut read = 0;
    while read < rows {
        let (records, ..) = reader.read_records(rows - read, Some(&mut defined), None, &mut values)?;
        if records == 0 {
            return Err(ParquetError::General("a column is too short".to_owned()));
        }
        read += records;
    }
    Ok((values, defined))
}

/// Runs as CSV, with the columns of the Parquet file.
pub(super) fn csv(sweep: &Sweep, known: &Known) -> Result<Vec<u8>, csv::Error> {
    let mut writer = Writer::from_writer(Vec::new());
    let fields = fields(sweep);
    let leading = LEADING.iter().map(|(name, _)| *name);
    let names =
        leading.chain(fields.iter().map(|field| field.name.as_str())).chain(["phase", "metric", "value"]);
    writer.write_record(names)?;
    for (&number, run) in known {
        let which = sweep.at(number);
        let point = &sweep.points()[which.point];
        let scenario = &point.loaded.scenario;
        let mut head = vec![
            number.to_string(),
            which.point.to_string(),
            scenario.strategies[which.strategy].name.clone(),
            which.replication.to_string(),
            scenario.seed.to_string(),
            run.warmup_s.to_string(),
        ];
        head.extend(point.values.iter().map(|(_, value)| bare(value).to_owned()));
        for (phase, of_phase) in &run.phases {
            for (metric, value) in METRICS.iter().zip(of_phase) {
                let value = value.map_or_else(String::new, |value| value.to_string());
                let tail = [phase.name(), metric.name, value.as_str()];
                writer.write_record(head.iter().map(String::as_str).chain(tail))?;
            }
        }
    }
    writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}
