//! Dask's own node types, read without calling Python.
//!
//! `dask._task_spec` keeps the fields of a node in `__slots__`, so each is a pointer at a fixed offset.  The
//! offsets are taken from the member descriptors once; a Dask in which a field is no plain slot is refused with
//! an error here, never read wrongly.

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyType, PyTypeMethods};

use crate::call::{self, Object};

/// `Py_T_OBJECT_EX` of CPython's `structmember.h`: an object, and `AttributeError` when it is null.
const OBJECT_SLOT: std::ffi::c_int = 16;

/// Everything of `dask._task_spec` that is compared by address.
const NAMES: [&str; 10] = [
    "Task",
    "TaskRef",
    "Alias",
    "DataNode",
    "GraphNode",
    "List",
    "Tuple",
    "Set",
    "Dict",
    "_execute_subgraph",
];

/// The offset of a field in a node.
#[derive(Clone, Copy)]
pub struct Field(isize);

impl Field {
    /// The field's value, borrowed; null when it was never set.
    ///
    /// # Safety
    /// `node` is an instance of the type this field belongs to, and the thread is attached.
    #[inline]
    pub unsafe fn of(self, node: Object) -> Object {
        // SAFETY: a slot of `node` holds an object pointer at this offset.
        unsafe { *node.byte_offset(self.0).cast::<Object>() }
    }
}

/// A type object of `dask._task_spec`, alive for as long as the process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Type(*mut ffi::PyTypeObject);

impl Type {
    /// The type of an object.
    ///
    /// # Safety
    /// The object is alive.
    #[inline]
    pub unsafe fn of(object: Object) -> Self {
        // SAFETY: by the condition above.
        Self(unsafe { ffi::Py_TYPE(object) })
    }

    #[inline]
    fn is_subtype_of(self, other: Self) -> bool {
        // SAFETY: both are types.
        unsafe { ffi::PyType_IsSubtype(self.0, other.0) != 0 }
    }
}

/// The containers that a node may build from its arguments.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// `dask._task_spec.List`
    List,
    /// `dask._task_spec.Tuple`
    Tuple,
    /// `dask._task_spec.Set`
    Set,
    /// `dask._task_spec.Dict`, arguments being key, value, key, value, ...
    Dict,
}

/// What the compiler has to know of `dask._task_spec`.
pub struct Spec {
    pub task: Type,
    pub task_ref: Type,
    pub alias: Type,
    pub data: Type,
    node: Type,
    containers: [(Type, Container); 4],
    /// `_execute_subgraph`, the function of every fused task.
    pub execute_subgraph: Object,
    pub function: Field,
    pub args: Field,
    pub kwargs: Field,
    pub ref_key: Field,
    pub target: Field,
    pub value: Field,
    convert: Py<PyAny>,
    /// Keeps the types and the function alive, whatever happens to the module.
    _held: Vec<Py<PyAny>>,
}

// SAFETY: every pointer is to an object that `_held` keeps alive, and none is changed.
unsafe impl Send for Spec {}
// SAFETY: as above.
unsafe impl Sync for Spec {}

impl Spec {
    /// Dask's node types, looked up on the first call.
    pub fn get(py: Python<'_>) -> PyResult<&'static Self> {
        static SPEC: PyOnceLock<Spec> = PyOnceLock::new();
        SPEC.get_or_try_init(py, || Self::read(py))
    }

    fn read(py: Python<'_>) -> PyResult<Self> {
        let module = py.import("dask._task_spec")?;
        let class = |name: &str| -> PyResult<Bound<'_, PyType>> { Ok(module.getattr(name)?.cast_into()?) };
        let kind = |name: &str| -> PyResult<Type> { Ok(Type(class(name)?.as_type_ptr())) };
        let field = |name: &str, slot: &str| slot_offset(&class(name)?, slot);
        Ok(Self {
            task: kind("Task")?,
            task_ref: kind("TaskRef")?,
            alias: kind("Alias")?,
            data: kind("DataNode")?,
            node: kind("GraphNode")?,
            containers: [
                (kind("List")?, Container::List),
                (kind("Tuple")?, Container::Tuple),
                (kind("Set")?, Container::Set),
                (kind("Dict")?, Container::Dict),
            ],
            execute_subgraph: module.getattr("_execute_subgraph")?.as_ptr(),
            function: field("Task", "func")?,
            args: field("Task", "args")?,
            kwargs: field("Task", "kwargs")?,
            ref_key: field("TaskRef", "key")?,
            target: field("Alias", "target")?,
            value: field("DataNode", "value")?,
            convert: module.getattr("convert_legacy_task")?.unbind(),
            _held: NAMES.iter().map(|name| Ok(module.getattr(*name)?.unbind())).collect::<PyResult<_>>()?,
        })
    }

    /// The container that nodes of this exact type build.
    pub fn container(&self, kind: Type) -> Option<Container> {
        self.containers.iter().find(|(known, _)| *known == kind).map(|&(_, container)| container)
    }

    /// True when an object of this type is a node, of whatever sort.
    #[inline]
    pub fn is_node(&self, kind: Type) -> bool {
        kind.is_subtype_of(self.node)
    }

    /// True when an object of this type is an alias.
    pub fn is_alias(&self, kind: Type) -> bool {
        kind.is_subtype_of(self.alias)
    }

    /// True when an object of this type stands for the value of something else.
    #[inline]
    pub fn is_symbolic(&self, kind: Type) -> bool {
        self.is_node(kind) || kind.is_subtype_of(self.task_ref)
    }

    /// What Dask makes of a value that is no node: a node, or the value itself when it is data.
    pub fn convert<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
        all_keys: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        call::call(self.convert.bind(key.py()), [key, value, all_keys])
    }
}

/// The offset of a `__slots__` member, looked for in the class and its bases.
fn slot_offset(class: &Bound<'_, PyType>, name: &str) -> PyResult<Field> {
    for base in class.mro().iter() {
        if let Ok(member) = base.getattr("__dict__")?.get_item(name) {
            return member_offset(&member).ok_or_else(|| refusal(class, name));
        }
    }
    Err(refusal(class, name))
}

fn member_offset(member: &Bound<'_, PyAny>) -> Option<Field> {
    // SAFETY: the type is checked before the descriptor is read as one.
    unsafe {
        if ffi::Py_TYPE(member.as_ptr()) != &raw mut ffi::PyMemberDescr_Type {
            return None;
        }
        let definition = (*member.as_ptr().cast::<ffi::PyMemberDescrObject>()).d_member;
        ((*definition).type_code == OBJECT_SLOT).then(|| Field((*definition).offset))
    }
}

fn refusal(class: &Bound<'_, PyType>, name: &str) -> PyErr {
    PyRuntimeError::new_err(format!(
        "this version of dask is not supported by dask_ferris: {class} has no slot named {name:?}"
    ))
}
