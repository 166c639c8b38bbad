//! Calls into Python from threads that the interpreter may end.
//!
//! Up to CPython 3.13 a thread that asks for the GIL while the interpreter finalises is ended with
//! `pthread_exit`, which unwinds its stack by force.  Destructors that would then run here, PyO3's attach
//! guard among them, do so without the GIL, and the process aborts.  So every call that may run Python code is
//! bound as `extern "C-unwind"` (else the compiler leaves the landing pad out) and has an innermost guard whose
//! drop never returns: the thread hangs, as CPython itself lets it from 3.14 on.  The guard costs nothing on
//! the way without unwinding.

use pyo3::ffi::{self, Py_ssize_t};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySet, PyString};
use std::ffi::c_int;
use std::ptr;

/// A pointer to a Python object; whether it is owned is said where it is kept.
pub type Object = *mut ffi::PyObject;

/// The entry points into CPython, each read from memory where it is called.
///
/// PyO3 declares the same functions as ones that never unwind.  A module has one declaration of a function, so a
/// call that the compiler can see through loses its landing pad; a volatile read is one it cannot see through.
mod entry {
    use super::{Object, Py_ssize_t, c_int};
    use std::ptr;

    unsafe extern "C-unwind" {
        fn PyObject_Vectorcall(f: Object, args: *const Object, nargsf: usize, names: Object) -> Object;
        fn PyObject_Call(function: Object, args: Object, kwargs: Object) -> Object;
        fn PyObject_Hash(object: Object) -> Py_ssize_t;
        fn PyObject_RichCompareBool(left: Object, right: Object, op: c_int) -> c_int;
        fn PySet_Add(set: Object, item: Object) -> c_int;
        fn PySet_Discard(set: Object, item: Object) -> c_int;
        fn PyObject_SetItem(object: Object, key: Object, value: Object) -> c_int;
        fn PyDict_DelItem(dict: Object, key: Object) -> c_int;
        fn PyDict_SetItem(dict: Object, key: Object, value: Object) -> c_int;
        fn PyObject_GetAttr(object: Object, name: Object) -> Object;
        fn PyObject_GetItem(object: Object, key: Object) -> Object;
        fn PyObject_Repr(object: Object) -> Object;
        fn PyObject_Str(object: Object) -> Object;
        fn Py_DecRef(object: Object);
    }

    /// A function of CPython that may unwind.
    pub struct Entry<F>(F);

    impl<F: Copy> Entry<F> {
        #[expect(
            clippy::inline_always,
            reason = "one load; the debug build would call it once for each call"
        )]
        #[inline(always)]
        pub fn get(&'static self) -> F {
            // SAFETY: a reference is valid to read.
            unsafe { ptr::read_volatile(&raw const self.0) }
        }
    }

    type Vectorcall = unsafe extern "C-unwind" fn(Object, *const Object, usize, Object) -> Object;
    type Hash = unsafe extern "C-unwind" fn(Object) -> Py_ssize_t;
    type Compare = unsafe extern "C-unwind" fn(Object, Object, c_int) -> c_int;
    type Add = unsafe extern "C-unwind" fn(Object, Object) -> c_int;
    type Call = unsafe extern "C-unwind" fn(Object, Object, Object) -> Object;
    type Set = unsafe extern "C-unwind" fn(Object, Object, Object) -> c_int;
    type Get = unsafe extern "C-unwind" fn(Object, Object) -> Object;
    type Text = unsafe extern "C-unwind" fn(Object) -> Object;
    type Drop = unsafe extern "C-unwind" fn(Object);

    pub static VECTORCALL: Entry<Vectorcall> = Entry(PyObject_Vectorcall);
    pub static CALL: Entry<Call> = Entry(PyObject_Call);
    pub static HASH: Entry<Hash> = Entry(PyObject_Hash);
    pub static COMPARE: Entry<Compare> = Entry(PyObject_RichCompareBool);
    pub static SET_ADD: Entry<Add> = Entry(PySet_Add);
    pub static SET_DISCARD: Entry<Add> = Entry(PySet_Discard);
    pub static SET_ITEM: Entry<Set> = Entry(PyObject_SetItem);
    pub static DICT_DELETE: Entry<Add> = Entry(PyDict_DelItem);
    pub static DICT_SET: Entry<Set> = Entry(PyDict_SetItem);
    pub static GET_ATTR: Entry<Get> = Entry(PyObject_GetAttr);
    pub static GET_ITEM: Entry<Get> = Entry(PyObject_GetItem);
    pub static REPR: Entry<Text> = Entry(PyObject_Repr);
    pub static STR: Entry<Text> = Entry(PyObject_Str);
    pub static DECREF: Entry<Drop> = Entry(Py_DecRef);
}

/// Parks the thread for ever when it is unwound.
struct ParkWhenUnwound;

impl Drop for ParkWhenUnwound {
    #[cold]
    fn drop(&mut self) {
        loop {
            std::thread::park();
        }
    }
}

#[expect(clippy::inline_always, reason = "the landing pad has to be in the frame that calls")]
#[inline(always)]
fn guarded<R>(call: impl FnOnce() -> R) -> R {
    let guard = ParkWhenUnwound;
    let result = call();
    std::mem::forget(guard);
    result
}

/// Calls `function` with the `n` positional arguments at `args` and then those that `names` names.
///
/// Returns a new reference, or null with the error set.
///
/// # Safety
/// The thread is attached.  `args` points to as many objects as there are arguments, all alive for the call,
/// and the word before it may be written to.  `names` is null or a tuple of strings.
#[inline]
pub unsafe fn vectorcall(function: Object, args: *mut Object, n: usize, names: Object) -> Object {
    // SAFETY: by the conditions above.
    guarded(|| unsafe {
        entry::VECTORCALL.get()(function, args, n | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET, names)
    })
}

/// The hash of an object, or -1 with the error set.
///
/// # Safety
/// The thread is attached; the object is alive.
#[inline]
pub unsafe fn hash(object: Object) -> isize {
    // SAFETY: by the conditions above.
    guarded(|| unsafe { entry::HASH.get()(object) })
}

/// 1 when the objects are equal, 0 when not, -1 with the error set.
///
/// # Safety
/// The thread is attached; both objects are alive.
pub unsafe fn equal(left: Object, right: Object) -> c_int {
    // SAFETY: by the conditions above.
    guarded(|| unsafe { entry::COMPARE.get()(left, right, ffi::Py_EQ) })
}

/// Adds an item to a set; false with the error set.
///
/// # Safety
/// The thread is attached; `set` is a set; both are alive.
pub unsafe fn set_add(set: Object, item: Object) -> bool {
    // SAFETY: by the conditions above.
    guarded(|| unsafe { entry::SET_ADD.get()(set, item) }) == 0
}

/// Sets an item of a dict; false with the error set.
///
/// # Safety
/// The thread is attached; `dict` is a dict; the others are alive.
pub unsafe fn dict_set(dict: Object, key: Object, value: Object) -> bool {
    // SAFETY: by the conditions above.
    guarded(|| unsafe { entry::DICT_SET.get()(dict, key, value) }) == 0
}

/// Gives up a reference, which may run a destructor written in Python.
///
/// # Safety
/// The thread is attached and owns the reference.
#[inline]
pub unsafe fn decref(object: Object) {
    // SAFETY: by the conditions above.
    guarded(|| unsafe { entry::DECREF.get()(object) });
}

/// A new reference to the same object.
///
/// # Safety
/// The thread is attached; the object is alive.
#[inline]
pub unsafe fn incref(object: Object) -> Object {
    // SAFETY: by the condition above.
    unsafe { ffi::Py_INCREF(object) };
    object
}

/// Calls a function with positional arguments.
pub fn call<'py, const N: usize>(
    function: &Bound<'py, PyAny>,
    args: [&Bound<'py, PyAny>; N],
) -> PyResult<Bound<'py, PyAny>> {
    let mut words = vec![ptr::null_mut(); N + 1];
    words[1..].copy_from_slice(&args.map(Bound::as_ptr));
    // SAFETY: `function` says that the thread is attached; N arguments, with a spare word before them.
    let result = unsafe { vectorcall(function.as_ptr(), words.as_mut_ptr().add(1), N, ptr::null_mut()) };
    owned(function.py(), result)
}

/// Calls a function with a tuple of arguments and perhaps a dict of named ones.
#[inline]
pub fn call_with<'py>(
    function: &Bound<'py, PyAny>,
    args: &Bound<'py, PyAny>,
    kwargs: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let names = kwargs.map_or(ptr::null_mut(), Bound::as_ptr);
    // SAFETY: `function` says that the thread is attached.
    owned(function.py(), guarded(|| unsafe { entry::CALL.get()(function.as_ptr(), args.as_ptr(), names) }))
}

/// An attribute, which may be a property written in Python.
pub fn get_attr<'py>(object: &Bound<'py, PyAny>, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: `object` says that the thread is attached.
    owned(object.py(), guarded(|| unsafe { entry::GET_ATTR.get()(object.as_ptr(), name.as_ptr()) }))
}

/// The value of a key; it may be hashed and compared in Python.
pub fn get_item<'py>(object: &Bound<'py, PyAny>, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: `object` says that the thread is attached.
    owned(object.py(), guarded(|| unsafe { entry::GET_ITEM.get()(object.as_ptr(), key.as_ptr()) }))
}

/// The `repr` of an object.
pub fn repr<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: `object` says that the thread is attached.
    owned(object.py(), guarded(|| unsafe { entry::REPR.get()(object.as_ptr()) }))
}

/// The `str` of an object.
pub fn text<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: `object` says that the thread is attached.
    owned(object.py(), guarded(|| unsafe { entry::STR.get()(object.as_ptr()) }))
}

/// True when two objects are equal.
pub fn is_equal(left: &Bound<'_, PyAny>, right: &Bound<'_, PyAny>) -> PyResult<bool> {
    // SAFETY: `left` says that the thread is attached.
    match unsafe { equal(left.as_ptr(), right.as_ptr()) } {
        -1 => Err(PyErr::fetch(left.py())),
        answer => Ok(answer == 1),
    }
}

/// Sets an item of a dict.
pub fn set_item(dict: &Bound<'_, PyDict>, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: `dict` says that the thread is attached.
    checked(dict.py(), unsafe { dict_set(dict.as_ptr(), key.as_ptr(), value.as_ptr()) })
}

/// Sets an item of any container.
pub fn set_any_item(
    container: &Bound<'_, PyAny>,
    key: &Bound<'_, PyAny>,
    value: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = key.py();
    let (container, key, value) = (container.as_ptr(), key.as_ptr(), value.as_ptr());
    // SAFETY: `key` says that the thread is attached.
    checked(py, guarded(|| unsafe { entry::SET_ITEM.get()(container, key, value) }) == 0)
}

/// Takes a key, which is there, out of a dict.
pub fn delete_item(dict: &Bound<'_, PyDict>, key: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: `dict` says that the thread is attached.
    checked(dict.py(), guarded(|| unsafe { entry::DICT_DELETE.get()(dict.as_ptr(), key.as_ptr()) }) == 0)
}

/// Adds an item to a set.
pub fn add(set: &Bound<'_, PySet>, item: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: `set` says that the thread is attached.
    checked(set.py(), unsafe { set_add(set.as_ptr(), item.as_ptr()) })
}

/// Takes an item out of a set, if it is there.
pub fn discard(set: &Bound<'_, PySet>, item: &Bound<'_, PyAny>) -> PyResult<()> {
    // SAFETY: `set` says that the thread is attached.
    checked(set.py(), guarded(|| unsafe { entry::SET_DISCARD.get()(set.as_ptr(), item.as_ptr()) }) >= 0)
}

/// The error that is set, if it did not go well.
fn checked(py: Python<'_>, is_ok: bool) -> PyResult<()> {
    if is_ok { Ok(()) } else { Err(PyErr::fetch(py)) }
}

/// A new reference, or the error that is set.
fn owned(py: Python<'_>, object: Object) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: the callers pass a new reference, or null with the error set.
    unsafe { Bound::from_owned_ptr_or_err(py, object) }
}
