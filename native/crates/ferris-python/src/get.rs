//! `get`: the story of one run.
//!
//! It is a native function, not a Python one around it, so that the traceback of a failed task shows the
//! user's frames and none of ours.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::call;
use crate::compile::compile;
use crate::error;
use crate::options::{Resolved, plan_of, resolve};
use crate::pool;
use crate::request::Request;
use crate::session;

/// Compute keys of a Dask graph; a drop-in for :func:`dask.threaded.get`.
///
/// The graph is compiled once into native arrays and run by the calling thread, which other threads of the
/// process-wide pool join while more than one task is ready.  Each task runs in its own copy of the caller's
/// context (:mod:`contextvars`).  A run in which a task has a policy, and one on a :class:`dask_ferris.Executor`,
/// is executed as tasks of an executor instead, and the calling thread waits.
///
/// Args:
///     dsk: A graph: what :meth:`dask.compute` hands to a scheduler, a :class:`dask.highlevelgraph.HighLevelGraph`
///         or any other mapping from keys to tasks or data.  It is not changed.
///     keys: A key, or a list of keys, which may be nested.
///     **options: ``num_workers`` (int of at least 1): how many tasks may run at once, the calling thread's
///         included; by default Dask's config ``num_workers``, else the usable CPUs; on an executor the number is
///         the executor's.  ``width`` ("adaptive" or "fixed"): whether only as many workers join as get most
///         done.  ``priority`` (a finite number, higher goes first), ``retries`` (int or
///         :class:`dask_ferris.Retry`), ``timeout`` (seconds of one attempt) and ``resources`` (amounts by name)
///         are the policy of each task; annotations of :func:`dask.annotate` come before them.  ``on_error``
///         ("raise" or "continue"), ``deadline`` (seconds of the whole run), ``memory_limit`` (bytes, or a text like
///         "4 GB": roots of the graph are held back while values take more) and ``report`` (a function of a
///         :class:`dask_ferris.RunReport`, or the path of a file) are for the run.  ``callbacks``,
///         ``cache``, ``pool``, ``rerun_exceptions_locally`` and ``raise_exception`` are Dask's own; with one of
///         them, or while a callback of Dask is active, the calling thread computes a task only when that is all
///         there is to do, and tasks can have no policy.  The words ``lane``, ``progress`` and ``trace``
///         are errors, because nothing honours them yet.  Other keywords are ignored, as Dask does.
///
/// Returns:
///     The value of the key, or a tuple for a list of keys, nested as the list is.
///
/// Raises:
///     CycleError: Tasks depend on each other.
///     MissingDependencyError: A needed task depends on a key that the graph does not have.
///     MissingKeyError: The graph does not have one of ``keys``.
///     GraphError: A node of the graph could not be read.
///     PolicyError: An option that is not available or can not be had, or an annotation that is wrong.
///     TaskTimeoutError: The last attempt of a task took longer than its limit.
///     TypeError: ``dsk`` is no graph, a key is not hashable, or an option has the wrong type.
///     ValueError: An option is out of range.
///     Exception: Whatever the first failing task raised, as it is, with a note that names the key, and one of how
///         often it was attempted if that was more than once.
///
/// Example:
///     >>> import dask_ferris
///     >>> dask_ferris.get({"x": 1, "y": (sum, ["x", 2])}, ["y", "x"])
///     (3, 1)
#[pyfunction]
#[pyo3(signature = (dsk, keys, **options))]
pub fn get<'py>(
    dsk: &Bound<'py, PyAny>,
    keys: &Bound<'py, PyAny>,
    options: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = dsk.py();
    let resolved = resolve(py, options)?;
    let asked = match &resolved {
        Resolved::Plain(_) => None,
        Resolved::Asked(options) => Some(options),
    };
    let (graph, policies) = read(dsk, asked)?;
    if !policies.is_none() {
        return govern(&graph, keys, &policies, asked);
    }
    let plan = match resolved {
        Resolved::Plain(plan) => plan,
        Resolved::Asked(options) if options.getattr("is_watched")?.extract()? => {
            return watch(&graph, keys, &options);
        }
        Resolved::Asked(options) => plan_of(&options)?,
    };
    let request = Request::read(keys)?;
    let compiled = compile(&graph, request.keys())?;
    pool::count_run();
    session::run(py, compiled, plan, |graph, targets| request.answer(py, graph, targets))
}

/// Runs a graph whose tasks have policies; a traceback shows nothing of how.
fn govern<'py>(
    graph: &Bound<'py, PyDict>,
    keys: &Bound<'py, PyAny>,
    policies: &Bound<'py, PyAny>,
    options: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = graph.py();
    let run = py.import("dask_ferris._governed")?.getattr("run")?;
    let options = options.map_or_else(|| py.None().into_bound(py), Clone::clone);
    let done = call::call(&run, [graph.as_any(), keys, policies, &options]);
    done.map_err(|error| error::without_our_frames(py, error))
}

/// Runs a graph step by step; a traceback shows nothing of how.
fn watch<'py>(
    graph: &Bound<'py, PyDict>,
    keys: &Bound<'py, PyAny>,
    options: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = graph.py();
    let run = py.import("dask_ferris._watched")?.getattr("run")?;
    call::call(&run, [graph.as_any(), keys, options]).map_err(|error| error::without_our_frames(py, error))
}

/// What a graph was compiled to; see :func:`compile`.
#[pyclass(name = "Program", frozen, get_all, module = "dask_ferris._native")]
pub struct Summary {
    /// Tasks in the graph, needed or not.
    n_tasks: usize,
    /// Tasks that were lowered to native argument programs, or whose value is known.
    n_inlined: usize,
    /// Tasks that are called as ``node(values)``, because their shape is not known.
    n_called: usize,
}

/// Compile a graph as :func:`get` does, run nothing and say what came out.
#[pyfunction(name = "compile")]
pub fn compile_only(dsk: &Bound<'_, PyAny>, keys: &Bound<'_, PyAny>) -> PyResult<Summary> {
    let (graph, _) = read(dsk, None)?;
    let compiled = compile(&graph, Request::read(keys)?.keys())?;
    Ok(Summary {
        n_tasks: compiled.graph.len(),
        n_inlined: compiled.program.n_inlined,
        n_called: compiled.program.n_called,
    })
}

/// The graph as a dict, and the policies of its tasks or None.
///
/// A dict whose tasks can have none is taken as it is; everything else goes through `dask_ferris._governed`.
fn read<'py>(
    dsk: &Bound<'py, PyAny>,
    options: Option<&Bound<'py, PyAny>>,
) -> PyResult<(Bound<'py, PyDict>, Bound<'py, PyAny>)> {
    let (py, none) = (dsk.py(), dsk.py().None().into_bound(dsk.py()));
    if let Ok(dict) = dsk.cast_exact::<PyDict>()
        && options.is_none()
        && !has_annotations(py)?
    {
        return Ok((dict.clone(), none));
    }
    let read = py.import("dask_ferris._governed")?.getattr("read")?;
    call::call(&read, [dsk, options.unwrap_or(&none)])?.extract()
}

/// True inside `with dask.annotate(...)`.
fn has_annotations(py: Python<'_>) -> PyResult<bool> {
    static ANNOTATIONS: pyo3::sync::PyOnceLock<Py<PyAny>> = pyo3::sync::PyOnceLock::new();
    let get = ANNOTATIONS.get_or_try_init(py, || {
        py.import("dask")?.getattr(intern!(py, "get_annotations")).map(Bound::unbind)
    })?;
    call::call(get.bind(py), [])?.is_truthy()
}
