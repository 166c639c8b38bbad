//! What `dask.persist` looks for beside a scheduler: `persist` of the object that has `get`, which is this module.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::call;
use crate::error;

/// Persist collections; `dask.persist` calls this when its scheduler is :func:`dask_ferris.get`.
///
/// Values that Dask would take for tasks or keys, were they as they are in a graph, are marked as data: they are never run
/// when the collection is computed again.
///
/// Args:
///     collections: Collections of Dask.
///     **kwargs: What was given to `dask.persist`.
///
/// Returns:
///     The collections, backed by values.
#[pyfunction]
#[pyo3(signature = (collections, **kwargs))]
pub fn persist<'py>(
    collections: &Bound<'py, PyAny>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = collections.py();
    let persist = py.import("dask_ferris._persist")?.getattr("persist")?;
    let get = py.import("dask_ferris._native")?.getattr("get")?;
    let args = PyTuple::new(py, [&get, collections])?;
    let persisted = call::call_with(&persist, &args, kwargs.map(Bound::as_any));
    persisted.map_err(|error| error::without_frames_above(py, error, "get_data"))
}
