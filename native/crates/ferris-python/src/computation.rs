//! `compute`: reductions of numbers that Python hands over, by the kernels of `ferris_kernels`.
//!
//! | data | how it is read |
//! | --- | --- |
//! | `list`, `tuple` | the items where they are, into a copy |
//! | `range` | not at all: its items are computed |
//! | a buffer of one dimension (arrays of NumPy and `array`, `memoryview`) | a block at a time, without the GIL |
//! | any other iterable, and buffers of what is no number of C | as the list of its items |

use ferris_kernels::computation::{self as kernels, Kind, UnknownKind};
use ferris_kernels::elements::{Elements, Progression};
use ferris_kernels::half;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{
    PyByteArray, PyBytes, PyFloat, PyList, PyRange, PyRangeMethods, PyString, PyTuple, PyType,
};
use std::ffi::CStr;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::ptr;

use crate::call::{self, Object};
use crate::error;
use crate::interpreter;

/// Reduce numbers to one, in native code and without the GIL.
///
/// Every element is converted to a float once.  The result is the same on any number of threads, to the last bit, and sums
/// are rounded once: as by :func:`math.fsum`, unless nearly all of the sum cancels.  Infinities and NaN have the effect that
/// IEEE 754 gives them.
///
/// Args:
///     kind: ``"sum"``, ``"product"``, ``"square_sum"`` or ``"heavy_computation"``.
///     data: An iterable of real numbers, or a buffer of one dimension, such as an array of NumPy.  A buffer is read without
///         the GIL: what another thread writes into it meanwhile may be seen or not.
///     n_threads: How many threads may compute, the calling one included; more than one do only where that pays.
///
/// Returns:
///     The result; for no elements 0.0, and 1.0 for ``"product"``.
///
/// Raises:
///     ValueError: There is no such kind, or ``n_threads`` is 0.
///     TypeError: ``data`` is text, bytes or no iterable, it has several dimensions or a mask, or an element is no real number.
///     OverflowError: An int is too large for a float.
#[pyfunction]
pub fn compute(
    py: Python<'_>,
    kind: &str,
    data: &Bound<'_, PyAny>,
    n_threads: NonZeroUsize,
) -> PyResult<f64> {
    let kind = kind.parse().map_err(|UnknownKind| unknown(kind))?;
    py.check_signals()?;
    let elements = elements_of(data)?;
    Ok(interpreter::wait(py, || kernels::compute(kind, &*elements, n_threads)))
}

fn unknown(name: &str) -> PyErr {
    let known = Kind::ALL.map(|(known, _)| format!("'{known}'")).join(", ");
    PyValueError::new_err(format!("unknown kind of computation '{name}': the kinds are {known}"))
}

fn elements_of(data: &Bound<'_, PyAny>) -> PyResult<Box<dyn Elements>> {
    if let Ok(list) = data.cast_exact::<PyList>() {
        return Ok(Box::new(read_list(list)?));
    }
    if let Ok(tuple) = data.cast_exact::<PyTuple>() {
        return Ok(Box::new(read_tuple(tuple)?));
    }
    if is_text(&data.get_type())? {
        return Err(PyTypeError::new_err(format!(
            "data is of type '{}': not numbers",
            data.get_type().name()?
        )));
    }
    if let Some(progression) = data.cast::<PyRange>().ok().and_then(progression_of) {
        return Ok(Box::new(progression));
    }
    if let Some(buffer) = buffer_of(data)? {
        return Ok(Box::new(buffer));
    }
    let list = call::call(data.py().get_type::<PyList>().as_any(), [data])?;
    Ok(Box::new(read_list(list.cast()?)?))
}

/// None where its numbers do not fit 64 bits.
fn progression_of(range: &Bound<'_, PyRange>) -> Option<Progression> {
    let (first, step) = (range.start().ok()?, range.step().ok()?);
    Some(Progression { first: first as i64, step: step as i64, len: range.len().ok()? })
}

// ---- Items of lists and tuples

fn read_list(list: &Bound<'_, PyList>) -> PyResult<Vec<f64>> {
    let pointer = list.as_ptr();
    // SAFETY: the thread is attached; the length is that of now, as the `__float__` of an item may have changed it.
    let item = |index| unsafe {
        (index < ffi::PyList_GET_SIZE(pointer)).then(|| ffi::PyList_GET_ITEM(pointer, index))
    };
    read_items(list.py(), list.len(), item)
}

fn read_tuple(tuple: &Bound<'_, PyTuple>) -> PyResult<Vec<f64>> {
    let (pointer, len) = (tuple.as_ptr(), tuple.len() as isize);
    // SAFETY: the thread is attached, and the index is within the length.
    let item = |index| (index < len).then(|| unsafe { ffi::PyTuple_GET_ITEM(pointer, index) });
    read_items(tuple.py(), tuple.len(), item)
}

/// The numbers of the items that there are, borrowed, from the first to one that there is not.
fn read_items(py: Python<'_>, about: usize, item: impl Fn(isize) -> Option<Object>) -> PyResult<Vec<f64>> {
    let mut numbers = Vec::with_capacity(about);
    let mut converter = Converter { known: None };
    while let Some(item) = item(numbers.len() as isize) {
        // SAFETY: the item is alive, and the thread attached.
        let number = match unsafe { plain_number(item) } {
            Some(number) => number,
            // SAFETY: as above.
            None => converter.convert(&unsafe { error::borrow(py, item) }, numbers.len())?,
        };
        numbers.push(number);
    }
    Ok(numbers)
}

/// The value of a float, or of an int that is one; no Python code runs.
///
/// # Safety
/// The item is alive, and the thread attached.
#[inline]
unsafe fn plain_number(item: Object) -> Option<f64> {
    // SAFETY: by the condition above, and by the type.
    unsafe {
        if ffi::PyFloat_Check(item) != 0 {
            return Some(ffi::PyFloat_AS_DOUBLE(item));
        }
        if ffi::PyLong_CheckExact(item) == 0 && ffi::PyBool_Check(item) == 0 {
            return None;
        }
        let number = ffi::PyLong_AsDouble(item);
        if number.to_bits() == (-1f64).to_bits() && !ffi::PyErr_Occurred().is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        Some(number)
    }
}

/// Converts what is neither float nor int, or too large an int.
struct Converter<'py> {
    /// The last type whose instances were found to be numbers.
    known: Option<Bound<'py, PyType>>,
}

impl<'py> Converter<'py> {
    fn convert(&mut self, item: &Bound<'py, PyAny>, index: usize) -> PyResult<f64> {
        let kind = item.get_type();
        if !self.known.as_ref().is_some_and(|known| known.is(&kind)) {
            if !is_real_number(item, &kind)? {
                let name = kind.name()?;
                return Err(PyTypeError::new_err(format!(
                    "element {index} is of type '{name}': not a real number"
                )));
            }
            self.known = Some(kind);
        }
        let float = call::call(item.py().get_type::<PyFloat>().as_any(), [item]);
        let float = float.map_err(|error| noted(error, item, index))?;
        Ok(float.cast::<PyFloat>()?.value())
    }
}

/// Notes on an error which element raised it; what refuses a note stays as it is.
fn noted(error: PyErr, item: &Bound<'_, PyAny>, index: usize) -> PyErr {
    if let Ok(name) = item.get_type().name() {
        let _ = error.add_note(item.py(), format!("raised by element {index}, of type '{name}'"));
    }
    error
}

/// False for text, which `float` would parse, and for complex numbers, of which NumPy would take the real part.
fn is_real_number(item: &Bound<'_, PyAny>, kind: &Bound<'_, PyType>) -> PyResult<bool> {
    static CLASSES: PyOnceLock<(Py<PyAny>, Py<PyAny>)> = PyOnceLock::new();
    let py = item.py();
    let find = || -> PyResult<_> {
        let numbers = py.import("numbers")?;
        Ok((numbers.getattr("Real")?.unbind(), numbers.getattr("Complex")?.unbind()))
    };
    let (real, complex) = CLASSES.get_or_try_init(py, find)?;
    // SAFETY: the item is alive, and the thread attached.
    let is_number = unsafe { ffi::PyNumber_Check(item.as_ptr()) } != 0;
    // Numbers like Decimal are neither.
    let is_complex =
        || Ok::<_, PyErr>(kind.is_subclass(complex.bind(py))? && !kind.is_subclass(real.bind(py))?);
    Ok(is_number && !is_text(kind)? && !is_complex()?)
}

fn is_text(kind: &Bound<'_, PyType>) -> PyResult<bool> {
    Ok(kind.is_subclass_of::<PyString>()?
        || kind.is_subclass_of::<PyBytes>()?
        || kind.is_subclass_of::<PyByteArray>()?)
}

// ---- Buffers

/// Numbers in memory that is somebody else's.
struct Buffer {
    buffer: PyUntypedBuffer,
    load: Load,
}

/// The numbers of a buffer of one dimension; None where there is no such buffer, or not of numbers.
fn buffer_of(data: &Bound<'_, PyAny>) -> PyResult<Option<Buffer>> {
    let buffer = match PyUntypedBuffer::get(data) {
        Ok(buffer) => buffer,
        Err(refused) if error::is_ordinary(data.py(), &refused) => return Ok(None),
        Err(interrupt) => return Err(interrupt),
    };
    if buffer.dimensions() != 1 {
        let n = buffer.dimensions();
        return Err(PyTypeError::new_err(format!("data has {n} dimensions: numbers in one are needed")));
    }
    // The buffer has what is behind the mask as well.
    if data.hasattr(intern!(data.py(), "mask"))? {
        return Err(PyTypeError::new_err("data has a mask: fill it, or leave out what is masked"));
    }
    let is_plain = buffer.suboffsets().is_none();
    let load = is_plain.then(|| load_of(buffer.format(), buffer.item_size())).flatten();
    Ok(load.map(|load| Buffer { buffer, load }))
}

impl Elements for Buffer {
    fn len(&self) -> usize {
        self.buffer.shape()[0]
    }

    fn read<'a>(&'a self, range: Range<usize>, scratch: &'a mut Vec<f64>) -> &'a [f64] {
        let stride = self.buffer.strides()[0];
        scratch.clear();
        // SAFETY: the memory of a buffer stays while we hold it; the range is within the length, and `load` is for its format.
        unsafe {
            let first = self.buffer.buf_ptr().cast::<u8>().offset(range.start as isize * stride);
            (self.load)(first, stride, range.len(), scratch);
        }
        scratch
    }
}

/// Reads as many numbers from an address on, so many bytes apart, and appends them.
///
/// Each number is read once, so that whoever writes it meanwhile has an effect on its value and on nothing else.
type Load = unsafe fn(*const u8, isize, usize, &mut Vec<f64>);

/// How to read what the module `struct` describes by this format; None where that is no number, or not of 8 bytes or less.
fn load_of(format: &CStr, size: usize) -> Option<Load> {
    const FOREIGN: &[u8] = if cfg!(target_endian = "little") { b">!" } else { b"<" };
    let (is_foreign, code) = match *format.to_bytes() {
        [code] => (false, code),
        [order @ (b'@' | b'=' | b'<' | b'>' | b'!'), code] => (FOREIGN.contains(&order), code),
        _ => return None,
    };
    Some(match (code, size) {
        (b'?', 1) => load::<Truth>,
        (b'b', 1) => load::<i8>,
        (b'B', 1) => load::<u8>,
        (b'h' | b'i' | b'l' | b'q' | b'n', 2) => either::<i16>(is_foreign),
        (b'h' | b'i' | b'l' | b'q' | b'n', 4) => either::<i32>(is_foreign),
        (b'h' | b'i' | b'l' | b'q' | b'n', 8) => either::<i64>(is_foreign),
        (b'H' | b'I' | b'L' | b'Q' | b'N', 2) => either::<u16>(is_foreign),
        (b'H' | b'I' | b'L' | b'Q' | b'N', 4) => either::<u32>(is_foreign),
        (b'H' | b'I' | b'L' | b'Q' | b'N', 8) => either::<u64>(is_foreign),
        (b'e', 2) => either::<Half>(is_foreign),
        (b'f', 4) => either::<f32>(is_foreign),
        (b'd', 8) if is_foreign => load::<Foreign<f64>>,
        (b'd', 8) => copy,
        _ => return None,
    })
}

fn either<T: Number>(is_foreign: bool) -> Load
where
    Foreign<T>: Number,
{
    if is_foreign { load::<Foreign<T>> } else { load::<T> }
}

unsafe fn load<T: Number>(first: *const u8, stride: isize, n: usize, into: &mut Vec<f64>) {
    // SAFETY: the caller's conditions; numbers need not be aligned.
    let number = |offset| unsafe { first.offset(offset).cast::<T>().read_unaligned().to_f64() };
    let size = size_of::<T>() as isize;
    // The same twice: the compiler knows the size and makes vectors of it.
    if stride == size {
        into.extend((0..n as isize).map(|index| number(index * size)));
    } else {
        into.extend((0..n as isize).map(|index| number(index * stride)));
    }
}

/// As `load`, of numbers that need no conversion.
unsafe fn copy(first: *const u8, stride: isize, n: usize, into: &mut Vec<f64>) {
    // SAFETY: the caller's conditions; there is room for `n`, which nobody else knows of.
    unsafe {
        if stride != size_of::<f64>() as isize {
            return load::<f64>(first, stride, n, into);
        }
        into.reserve(n);
        ptr::copy_nonoverlapping(first, into.as_mut_ptr().add(into.len()).cast(), n * size_of::<f64>());
        into.set_len(into.len() + n);
    }
}

/// A number as it lies in memory; any bits are one.
trait Number: Copy {
    fn to_f64(self) -> f64;
}

/// A number in the other order of bytes.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Foreign<T>(T);

/// A number of 16 bits.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Half(u16);

/// A truth value; one from C need not be 0 or 1.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Truth(u8);

macro_rules! integers {
    ($($t:ty),*) => { $(
        impl Number for $t {
            #[allow(clippy::cast_precision_loss, clippy::cast_lossless, reason = "rounded, as Python rounds an int")]
            fn to_f64(self) -> f64 {
                self as f64
            }
        }

        impl Number for Foreign<$t> {
            fn to_f64(self) -> f64 {
                self.0.swap_bytes().to_f64()
            }
        }
    )* };
}

integers!(i8, u8, i16, u16, i32, u32, i64, u64);

macro_rules! floats {
    ($($t:ty),*) => { $(
        impl Number for $t {
            fn to_f64(self) -> f64 {
                self.into()
            }
        }

        impl Number for Foreign<$t> {
            fn to_f64(self) -> f64 {
                <$t>::from_bits(self.0.to_bits().swap_bytes()).into()
            }
        }
    )* };
}

floats!(f32, f64);

impl Number for Half {
    fn to_f64(self) -> f64 {
        half::to_f64(self.0)
    }
}

impl Number for Foreign<Half> {
    fn to_f64(self) -> f64 {
        half::to_f64(self.0.0.swap_bytes())
    }
}

impl Number for Truth {
    fn to_f64(self) -> f64 {
        // By the bits of 1, as the compiler makes a branch of a choice between two floats, and nobody can foretell it.
        f64::from_bits(1f64.to_bits() * u64::from(self.0 != 0))
    }
}
