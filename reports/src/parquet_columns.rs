//! Parquet files: tidy tables of text and numbers, and columns of any type.

use std::sync::Arc;

use parquet::basic::{Compression, ConvertedType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;

/// What a column is called and holds; bytes are text.
pub(crate) fn column(
    name: &str,
    physical: Physical,
    repetition: Repetition,
) -> Result<Arc<Type>, ParquetError> {
    let converted = if physical == Physical::BYTE_ARRAY { ConvertedType::UTF8 } else { ConvertedType::NONE };
    let builder = Type::primitive_type_builder(name, physical);
    Ok(Arc::new(builder.with_repetition(repetition).with_converted_type(converted).build()?))
}

/// A text as a value.
pub(crate) fn text(text: &str) -> ByteArray {
    ByteArray::from(text)
}

/// Writes the next column of a row group: the values that there are, and, of an optional column, by row whether it has one.
pub(crate) fn write<T: DataType>(
    rows: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[T::T],
    defined: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let end = || ParquetError::General("a column too many".to_owned());
    let mut column = rows.next_column()?.ok_or_else(end)?;
    column.typed::<T>().write_batch(values, defined, None)?;
    column.close()
}

/// A table called `name`. Of each column: its name, and whether it holds numbers, of which those that cannot be read are missing;
/// all others hold text, also where it looks like a number.
pub(crate) fn table(
    name: &str,
    columns: &[(&str, bool)],
    rows: &[Vec<String>],
    schema_version: u32,
) -> Result<Vec<u8>, ParquetError> {
    let fields = columns.iter().map(|&(name, is_number)| match is_number {
        true => column(name, Physical::DOUBLE, Repetition::OPTIONAL),
        false => column(name, Physical::BYTE_ARRAY, Repetition::REQUIRED),
    });
    let schema = Type::group_type_builder(name).with_fields(fields.collect::<Result<_, _>>()?);
    let version = KeyValue::new("evenkeel.schema_version".to_owned(), schema_version.to_string());
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_key_value_metadata(Some(vec![version]))
        .build();
    let mut file = SerializedFileWriter::new(Vec::new(), Arc::new(schema.build()?), Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    for (place, &(_, is_number)) in columns.iter().enumerate() {
        let cells = rows.iter().map(|row| row[place].as_str());
        if is_number {
            let numbers: Vec<Option<f64>> = cells.map(|cell| cell.parse().ok()).collect();
            let defined: Vec<i16> = numbers.iter().map(|number| i16::from(number.is_some())).collect();
            let numbers: Vec<f64> = numbers.into_iter().flatten().collect();
            write::<DoubleType>(&mut group, &numbers, Some(&defined))?;
        } else {
            write::<ByteArrayType>(&mut group, &cells.map(text).collect::<Vec<_>>(), None)?;
        }
    }
    group.close()?;
    file.into_inner()
}
