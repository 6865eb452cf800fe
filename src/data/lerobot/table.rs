//! Columns of a parquet file as plain vectors. Every column that LeRobot writes is a number, a flag, a text or a list of
//! numbers; what is of another type is an error that names it.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};

use super::super::budget::{Budget, BudgetError};
use super::error::{LeRobotError, Result};
use super::pages;
use crate::data::narrow::Watch;

/// Rows decoded at a time.
const BATCH: usize = 1 << 14;
/// Bytes of texts decoded at a time, of which every one may be as long as a page.
const TEXTS: u64 = 64 << 20;

/// An open parquet file.
pub struct Table {
    path: PathBuf,
    file: File,
    metadata: ArrowReaderMetadata,
}

impl Table {
    /// Opens a file and reads its footer.
    pub fn open(path: &Path) -> Result<Table> {
        let fault = |reason| LeRobotError::Parquet { path: path.into(), column: None, reason };
        let file = File::open(path).map_err(|e| fault(e.to_string()))?;
        if file.metadata().is_ok_and(|meta| meta.len() == 0) {
            return Err(fault("the file is empty".into()));
        }
        // Types follow from parquet's own schema: the embedded Arrow schema is one more thing that can be damaged, and tells
        // lists of fixed and of any length apart, which does not matter here.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = guarded(|| ArrowReaderMetadata::load(&file, options).map_err(|e| e.to_string()))
            .map_err(fault)?;
        Ok(Table { path: path.into(), file, metadata })
    }

    /// Rows, as the footer counts them.
    pub fn rows(&self) -> usize {
        usize::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Names of the columns.
    pub fn names(&self) -> Vec<String> {
        self.metadata.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    /// Whether there is a column of this name.
    pub fn has(&self, column: &str) -> bool {
        self.metadata.schema().fields().iter().any(|field| field.name() == column)
    }

    /// Numbers [rows, values of a shape], row-major: lists (of lists) of numbers as the shape has it, or flat, or plain numbers
    /// where the shape has one value. `watch` sees each.
    pub fn floats(&self, column: &str, shape: &[usize], watch: &mut Watch) -> Result<Vec<f32>> {
        let dim: usize = shape.iter().product();
        let mut out = Vec::new();
        self.each(column, |array, first| {
            let mut take = |values: ArrayRef, row: usize| {
                numbers_into(&values, &mut out, |x| watch.narrow(x))
                    .map_err(|f| self.fault(column, f, row, dim))
            };
            if !is_list(array.data_type()) {
                if dim != 1 {
                    let needed = format!("lists of {dim} numbers");
                    return Err(self.type_fault(column, array.data_type(), &needed));
                }
                return take(array, first);
            }
            self.nested(column, array, shape, first, 1, &mut take)
        })?;
        Ok(out)
    }

    /// The values of lists of lists; `each` arrays make up a row.
    fn nested(
        &self,
        column: &str,
        array: ArrayRef,
        shape: &[usize],
        first: usize,
        each: usize,
        take: &mut dyn FnMut(ArrayRef, usize) -> Result<()>,
    ) -> Result<()> {
        let (inner, rest) = match (array.data_type(), shape) {
            (DataType::List(field) | DataType::LargeList(field), [outer, rest @ ..]) => {
                // A shape of several axes may be stored flat.
                let flat = !is_list(field.data_type()) && !rest.is_empty();
                if flat { (shape.iter().product(), &[][..]) } else { (*outer, rest) }
            }
            (DataType::List(_) | DataType::LargeList(_), []) => (1, &[][..]),
            (_, rest) if rest.iter().product::<usize>() == 1 => return take(array, first),
            (other, _) => {
                return Err(self.type_fault(column, other, &format!("lists of the shape {shape:?}")));
            }
        };
        let mut found = None;
        self.lists(column, array, first, inner, each, &mut |values, _| {
            found = Some(values);
            Ok(())
        })?;
        match found {
            Some(values) => self.nested(column, values, rest, first, each * inner.max(1), take),
            None => Ok(()),
        }
    }

    /// One number a row, as f64.
    pub fn numbers(&self, column: &str) -> Result<Vec<f64>> {
        let mut out = Vec::new();
        self.scalars(column, &mut |array, first| {
            numbers_into(&array, &mut out, |x| x).map_err(|f| self.fault(column, f, first, 1))
        })?;
        Ok(out)
    }

    /// One whole number a row.
    pub fn integers(&self, column: &str) -> Result<Vec<i64>> {
        let mut out = Vec::new();
        self.scalars(column, &mut |array, first| {
            if !array.data_type().is_integer() {
                return Err(self.type_fault(column, array.data_type(), "whole numbers"));
            }
            integers_into(&array, &mut out).map_err(|f| self.fault(column, f, first, 1))
        })?;
        Ok(out)
    }

    /// One text a row.
    pub fn texts(&self, column: &str) -> Result<Vec<String>> {
        let (mut out, mut budget) = (Vec::new(), Budget::of(&self.file));
        self.each(column, |array, first| {
            let over = |source| self.over(column, source);
            budget.take("its texts", array.get_buffer_memory_size() as u64).map_err(over)?;
            let DataType::Utf8 = array.data_type() else {
                return Err(self.type_fault(column, array.data_type(), "texts"));
            };
            self.whole(column, &array, first, 1)?;
            out.extend(array.as_string::<i32>().iter().flatten().map(str::to_owned));
            Ok(())
        })?;
        Ok(out)
    }

    /// Plain numbers, or lists of one.
    fn scalars(&self, column: &str, take: &mut dyn FnMut(ArrayRef, usize) -> Result<()>) -> Result<()> {
        self.each(column, |array, first| match array.data_type() {
            DataType::List(_) | DataType::LargeList(_) => self.lists(column, array, first, 1, 1, take),
            _ => take(array, first),
        })
    }

    /// The values of lists of `dim` each, and the first row that they come from; `each` lists make up a row.
    fn lists(
        &self,
        column: &str,
        array: ArrayRef,
        first: usize,
        dim: usize,
        each: usize,
        take: &mut dyn FnMut(ArrayRef, usize) -> Result<()>,
    ) -> Result<()> {
        self.whole(column, &array, first, each)?;
        let check = |at: usize, found: usize| match found == dim {
            true => Ok(()),
            false => {
                let (path, column) = (self.path.clone(), column.to_owned());
                Err(LeRobotError::ListLength { path, column, row: first + at / each, found, needed: dim })
            }
        };
        let (values, from, to) = match array.data_type() {
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                let ends = list.value_offsets();
                ends.windows(2).enumerate().try_for_each(|(at, e)| check(at, (e[1] - e[0]) as usize))?;
                (list.values().clone(), ends[0] as usize, ends[ends.len() - 1] as usize)
            }
            _ => {
                let list = array.as_list::<i64>();
                let ends = list.value_offsets();
                ends.windows(2).enumerate().try_for_each(|(at, e)| check(at, (e[1] - e[0]) as usize))?;
                (list.values().clone(), ends[0] as usize, ends[ends.len() - 1] as usize)
            }
        };
        take(values.slice(from, to - from), first)
    }

    /// That no row is null.
    fn whole(&self, column: &str, array: &ArrayRef, first: usize, each: usize) -> Result<()> {
        match (0..array.len()).find(|&row| array.is_null(row)) {
            Some(row) => Err(self.fault(column, Fault::Null(row), first, each)),
            None => Ok(()),
        }
    }

    /// Decodes a column in pieces; `take` gets each with the row that it starts at.
    fn each(&self, column: &str, mut take: impl FnMut(ArrayRef, usize) -> Result<()>) -> Result<()> {
        let Some(root) = self.names().iter().position(|name| name == column) else {
            let (path, column) = (self.path.clone(), column.to_owned());
            return Err(LeRobotError::MissingColumn { path, column, present: self.names() });
        };
        let fault = |reason| LeRobotError::Parquet {
            path: self.path.clone(),
            column: Some(column.to_owned()),
            reason,
        };
        let claim = pages::claim(&self.file, self.metadata.metadata(), root, &mut Budget::of(&self.file));
        let claim = claim.map_err(|found| match found {
            pages::Fault::Bad(reason) => fault(reason),
            pages::Fault::Over(source) => self.over(column, source),
        })?;
        let text = self.metadata.schema().field(root).data_type() == &DataType::Utf8;
        let batch = match text {
            true => (TEXTS / claim.page.max(1)).clamp(1, BATCH as u64) as usize,
            false => BATCH,
        };
        let file = self.file.try_clone().map_err(|e| fault(e.to_string()))?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
        let mask = ProjectionMask::roots(builder.parquet_schema(), [root]);
        let mut reader = guarded(|| {
            builder.with_projection(mask).with_batch_size(batch).build().map_err(|e| e.to_string())
        })
        .map_err(fault)?;
        let mut first = 0;
        while let Some(batch) =
            guarded(|| reader.next().transpose().map_err(|e| e.to_string())).map_err(fault)?
        {
            let rows = batch.num_rows();
            if let Some(array) = batch.columns().first() {
                take(array.clone(), first)?;
            }
            first += rows;
        }
        Ok(())
    }

    fn over(&self, column: &str, source: BudgetError) -> LeRobotError {
        LeRobotError::Budget { path: self.path.clone(), column: column.into(), source }
    }

    fn type_fault(&self, column: &str, found: &DataType, needed: &str) -> LeRobotError {
        let (path, column) = (self.path.clone(), column.to_owned());
        LeRobotError::Type { path, column, found: described(found), needed: needed.into() }
    }

    fn fault(&self, column: &str, fault: Fault, first: usize, dim: usize) -> LeRobotError {
        match fault {
            Fault::Type(found) => self.type_fault(column, &found, "numbers"),
            Fault::Null(at) => {
                let (path, column) = (self.path.clone(), column.to_owned());
                LeRobotError::Null { path, column, row: first + at / dim.max(1) }
            }
        }
    }
}

fn is_list(found: &DataType) -> bool {
    matches!(found, DataType::List(_) | DataType::LargeList(_))
}

/// A type in few words.
fn described(found: &DataType) -> String {
    match found {
        DataType::List(field) | DataType::LargeList(field) => {
            format!("lists of {}", described(field.data_type()))
        }
        DataType::Struct(_) => "a structure".into(),
        DataType::Utf8 => "texts".into(),
        other => other.to_string(),
    }
}

/// What is wrong with a piece of a column.
enum Fault {
    Type(DataType),
    Null(usize),
}

/// Runs the decoder. It promises errors for damaged files, yet a panic inside must not become one of ours.
fn guarded<T>(run: impl FnOnce() -> std::result::Result<T, String>) -> std::result::Result<T, String> {
    // What the closure touches is dropped with the error, so that nothing half-changed is seen again.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err("the file is damaged".into()))
}

macro_rules! each_type {
    ($array:expr, $out:expr, $convert:expr, $($data:ident => $type:ty),*) => {
        match $array.data_type() {
            $(DataType::$data => {
                let array = $array.as_primitive::<$type>();
                if let Some(row) = (0..array.len()).find(|&row| array.is_null(row)) {
                    return Err(Fault::Null(row));
                }
                $out.extend(array.values().iter().map(|&x| $convert(x as _)));
            })*
            other => return Err(Fault::Type(other.clone())),
        }
    };
}

/// Numbers and flags of any width, through f64, which holds each f32 exactly.
fn numbers_into<T>(
    array: &ArrayRef,
    out: &mut Vec<T>,
    mut convert: impl FnMut(f64) -> T,
) -> std::result::Result<(), Fault> {
    if let DataType::Float16 = array.data_type() {
        for (row, half) in array.as_primitive::<Float16Type>().iter().enumerate() {
            out.push(convert(half.ok_or(Fault::Null(row))?.to_f64()));
        }
        return Ok(());
    }
    if let DataType::Boolean = array.data_type() {
        for (row, flag) in array.as_boolean().iter().enumerate() {
            out.push(convert(flag.ok_or(Fault::Null(row))?.into()));
        }
        return Ok(());
    }
    each_type!(array, out, convert,
        Float32 => Float32Type, Float64 => Float64Type, Int8 => Int8Type, Int16 => Int16Type, Int32 => Int32Type,
        Int64 => Int64Type, UInt8 => UInt8Type, UInt16 => UInt16Type, UInt32 => UInt32Type, UInt64 => UInt64Type);
    Ok(())
}

fn integers_into(array: &ArrayRef, out: &mut Vec<i64>) -> std::result::Result<(), Fault> {
    let same = |x: i64| x;
    each_type!(array, out, same,
        Int8 => Int8Type, Int16 => Int16Type, Int32 => Int32Type, Int64 => Int64Type, UInt8 => UInt8Type,
        UInt16 => UInt16Type, UInt32 => UInt32Type, UInt64 => UInt64Type);
    Ok(())
}
