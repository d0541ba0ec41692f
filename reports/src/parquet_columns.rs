//! Columns of Parquet files.

use std::sync::Arc;

use parquet::basic::{ConvertedType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedRowGroupWriter;
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
