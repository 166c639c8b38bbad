//! Makes `cfg(Py_3_13)` and its like visible to this crate.

fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
