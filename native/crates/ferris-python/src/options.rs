//! How a `get` is to be done: the fast way to the defaults.
//!
//! A `get` without options, in a program that has configured nothing, needs no Python to know what to do.
//! Everything else goes through `dask_ferris._options.resolve`.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyInt, PySet, PyString};

use crate::call;
use crate::session::Plan;
use ferris_core::width::Policy;

/// How a call is to be done.
pub enum Resolved<'py> {
    /// In the ordinary way.
    Plain(Plan),
    /// As these options say, a `dask_ferris._options.Options`.
    Asked(Bound<'py, PyAny>),
}

/// Config keys of Dask that change what a local scheduler does, in both spellings that Dask accepts.
const DASK_KEYS: [&str; 6] =
    ["num_workers", "num-workers", "pool", "cache", "rerun_exceptions_locally", "rerun-exceptions-locally"];

/// Resolves the options of a call: argument, then config, then default.
pub fn resolve<'py>(py: Python<'py>, options: Option<&Bound<'py, PyDict>>) -> PyResult<Resolved<'py>> {
    let places = Places::get(py)?;
    let num_workers = match options {
        None => Some(places.cpu_count(py)?),
        Some(options) => only_num_workers(options)?,
    };
    match num_workers {
        Some(num_workers) if places.is_default(py)? && !places.has_callbacks(py)? => {
            Ok(Resolved::Plain(Plan {
                num_workers,
                width: Policy::Adaptive,
                limits_blas: true,
                compare: None,
            }))
        }
        _ => ask_python(py, options, places),
    }
}

/// The number of workers when that is all that was given, and there is nothing to say about it.
fn only_num_workers(options: &Bound<'_, PyDict>) -> PyResult<Option<usize>> {
    let given = options.get_item(intern!(options.py(), "num_workers"))?;
    let number = given.filter(|value| options.len() == 1 && value.is_exact_instance_of::<PyInt>());
    Ok(number.and_then(|number| number.extract().ok()).filter(|&number| number > 0))
}

#[cold]
fn ask_python<'py>(
    py: Python<'py>,
    options: Option<&Bound<'py, PyDict>>,
    places: &Places,
) -> PyResult<Resolved<'py>> {
    let resolve = py.import("dask_ferris._options")?.getattr("resolve")?;
    let given = options.map_or_else(|| PyDict::new(py), Clone::clone);
    let sees_active = places.has_callbacks(py)?.into_pyobject(py)?;
    call::call(&resolve, [given.as_any(), sees_active.as_any()]).map(Resolved::Asked)
}

/// The plan that options make, for a run that nobody watches and whose tasks have no policies.
pub fn plan_of(options: &Bound<'_, PyAny>) -> PyResult<Plan> {
    let py = options.py();
    let check: bool = options.getattr("check")?.extract()?;
    let compare = || Ok::<_, PyErr>(py.import("dask_ferris._check")?.getattr("compare")?.unbind());
    Ok(Plan {
        num_workers: options.getattr("num_workers")?.extract()?,
        width: if options.getattr("is_fixed")?.extract()? { Policy::Fixed } else { Policy::Adaptive },
        limits_blas: options.getattr("limit_blas")?.extract()?,
        compare: check.then(compare).transpose()?,
    })
}

/// Where Dask keeps what is looked at in every call.
struct Places {
    config: Py<PyDict>,
    keys: Vec<Py<PyString>>,
    /// The section `ferris` as the package has registered it.
    defaults: Py<PyDict>,
    callback: Py<PyAny>,
    system: Py<PyAny>,
}

impl Places {
    fn get(py: Python<'_>) -> PyResult<&'static Self> {
        static PLACES: PyOnceLock<Places> = PyOnceLock::new();
        PLACES.get_or_try_init(py, || Self::find(py))
    }

    fn find(py: Python<'_>) -> PyResult<Self> {
        let defaults = py.import("dask_ferris._options")?.getattr("DEFAULTS")?;
        Ok(Self {
            config: py.import("dask.config")?.getattr("config")?.cast_into()?.unbind(),
            keys: DASK_KEYS.iter().map(|key| PyString::intern(py, key).unbind()).collect(),
            defaults: defaults.cast_into()?.unbind(),
            callback: py.import("dask.callbacks")?.getattr("Callback")?.unbind(),
            system: py.import("dask.system")?.into_any().unbind(),
        })
    }

    /// True when nothing in the config concerns a local scheduler.
    fn is_default(&self, py: Python<'_>) -> PyResult<bool> {
        let config = self.config.bind(py);
        for key in &self.keys {
            if config.get_item(key)?.is_some_and(|value| !value.is_none()) {
                return Ok(false);
            }
        }
        let section = config.get_item(intern!(py, "ferris"))?;
        section.map_or(Ok(true), |section| call::is_equal(&section, self.defaults.bind(py)))
    }

    /// True when a callback of Dask is active.
    fn has_callbacks(&self, py: Python<'_>) -> PyResult<bool> {
        let active = self.callback.bind(py).getattr(intern!(py, "active"))?;
        active.cast::<PySet>().map_or_else(|_| active.is_truthy(), |set| Ok(!set.is_empty()))
    }

    fn cpu_count(&self, py: Python<'_>) -> PyResult<usize> {
        self.system.bind(py).getattr(intern!(py, "CPU_COUNT"))?.extract()
    }
}
