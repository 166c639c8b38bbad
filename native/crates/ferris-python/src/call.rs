//! Calls into Python from threads that the interpreter may end.
//!
//! Up to CPython 3.13 a thread that asks for the GIL while the interpreter finalises is ended with
//! `pthread_exit`, which unwinds its stack by force.  Destructors that would then run here, `PyO3`'s attach
//! guard among them, do so without the GIL, and the process aborts.  So every call that may run Python code is
//! bound as `extern "C-unwind"` (else the compiler leaves the landing pad out) and has an innermost guard whose
//! drop never returns: the thread hangs, as CPython itself lets it from 3.14 on.  The guard costs nothing on
//! the way without unwinding.

use pyo3::ffi::{self, Py_ssize_t};
use std::ffi::c_int;
use std::ptr;

/// A pointer to a Python object; whether it is owned is said where it is kept.
pub type Object = *mut ffi::PyObject;

/// The entry points into CPython, each read from memory where it is called.
///
/// `PyO3` declares the same functions as ones that never unwind.  Link-time optimisation merges the declarations,
/// and a call it can see through loses its landing pad; a volatile read is one it cannot see through.
mod entry {
    use super::{Object, Py_ssize_t, c_int};
    use std::ptr;

    unsafe extern "C-unwind" {
        fn PyObject_Vectorcall(f: Object, args: *const Object, nargsf: usize, names: Object) -> Object;
        fn PyObject_Hash(object: Object) -> Py_ssize_t;
        fn PyObject_RichCompareBool(left: Object, right: Object, op: c_int) -> c_int;
        fn PySet_Add(set: Object, item: Object) -> c_int;
        fn PyDict_SetItem(dict: Object, key: Object, value: Object) -> c_int;
        fn Py_DecRef(object: Object);
    }

    /// A function of CPython that may unwind.
    pub struct Entry<F>(F);

    impl<F: Copy> Entry<F> {
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
    type Set = unsafe extern "C-unwind" fn(Object, Object, Object) -> c_int;
    type Drop = unsafe extern "C-unwind" fn(Object);

    pub static VECTORCALL: Entry<Vectorcall> = Entry(PyObject_Vectorcall);
    pub static HASH: Entry<Hash> = Entry(PyObject_Hash);
    pub static COMPARE: Entry<Compare> = Entry(PyObject_RichCompareBool);
    pub static SET_ADD: Entry<Add> = Entry(PySet_Add);
    pub static DICT_SET: Entry<Set> = Entry(PyDict_SetItem);
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
pub unsafe fn vectorcall(function: Object, args: *const Object, n: usize, names: Object) -> Object {
    // SAFETY: by the conditions above.
    guarded(|| unsafe {
        entry::VECTORCALL.get()(function, args, n | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET, names)
    })
}

/// Calls `function` with one argument.
///
/// # Safety
/// The thread is attached; both objects are alive for the call.
pub unsafe fn call_with(function: Object, argument: Object) -> Object {
    let args = [ptr::null_mut(), argument];
    // SAFETY: one argument, with a spare word before it.
    unsafe { vectorcall(function, args.as_ptr().add(1), 1, ptr::null_mut()) }
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
/// The thread is attached; `set` is a set that nobody else sees; `item` is alive.
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
    // SAFETY: by the conditions above.
    unsafe { ffi::Py_INCREF(object) };
    object
}
