//! What was asked for: the keys, and the nesting in which their values are returned.
//!
//! Both are read once, before anything runs: a task may change the caller's lists.

use ferris_core::graph::Graph;
use pyo3::exceptions::PyRecursionError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use crate::error;
use crate::program::Payload;

/// Lists of keys may be nested this deep.
const MAX_NESTING: u32 = 500;

/// A step of the nesting, in the order in which it is read.
enum Token {
    /// So many keys.
    Keys(usize),
    /// A list of so many items, which follow.
    List(usize),
}

/// The keys of one call.
#[derive(Default)]
pub struct Request<'py> {
    keys: Vec<Bound<'py, PyAny>>,
    shape: Shape,
}

impl<'py> Request<'py> {
    /// Reads a key, or lists of keys.
    pub fn read(keys: &Bound<'py, PyAny>) -> PyResult<Self> {
        let mut request = Self::default();
        request.add(keys, 0)?;
        Ok(request)
    }

    /// The keys, depth first.
    pub fn keys(&self) -> &[Bound<'py, PyAny>] {
        &self.keys
    }

    fn add(&mut self, item: &Bound<'py, PyAny>, depth: u32) -> PyResult<()> {
        if depth > MAX_NESTING {
            return Err(PyRecursionError::new_err(format!(
                "keys are nested more than {MAX_NESTING} lists deep"
            )));
        }
        let Ok(list) = item.cast::<PyList>() else {
            self.keys.push(item.clone());
            match self.shape.0.last_mut() {
                Some(Token::Keys(n)) => *n += 1,
                _ => self.shape.0.push(Token::Keys(1)),
            }
            return Ok(());
        };
        let items = list.to_tuple(); // nobody else can change this one
        self.keys.reserve(items.len());
        self.shape.0.push(Token::List(items.len()));
        items.iter_borrowed().try_for_each(|item| self.add(&item, depth + 1))
    }

    /// As [`Shape::answer`].
    pub fn answer(
        &self,
        py: Python<'py>,
        graph: &Graph<Payload>,
        targets: &[u32],
    ) -> PyResult<Bound<'py, PyAny>> {
        self.shape.answer(py, graph, targets)
    }

    /// The nesting without the keys.
    pub fn into_shape(self) -> Shape {
        self.shape
    }
}

/// How the keys of a call are nested.
#[derive(Default)]
pub struct Shape(Vec<Token>);

impl Shape {
    /// The values of the targets, a tuple for each list; `targets` are the tasks of the keys.
    pub fn answer<'py>(
        &self,
        py: Python<'py>,
        graph: &Graph<Payload>,
        targets: &[u32],
    ) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: a run that is over keeps the values of all targets.
        let value = |target: &u32| unsafe { error::borrow(py, graph.payload(*target).value.get()) };
        let mut answer = Answer { values: &mut targets.iter().map(value), nesting: self.0.iter(), left: 0 };
        answer.next(py)
    }
}

/// Values and nesting, read side by side.
struct Answer<'a, 'py> {
    values: &'a mut dyn Iterator<Item = Bound<'py, PyAny>>,
    nesting: std::slice::Iter<'a, Token>,
    /// Keys of the last token that have not been answered.
    left: usize,
}

impl<'py> Answer<'_, 'py> {
    /// The value of the next key, or the tuple of the next list.
    fn next(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        while self.left == 0 {
            match self.nesting.next() {
                Some(&Token::List(n)) => return self.list(py, n),
                Some(&Token::Keys(n)) => self.left = n,
                None => unreachable!("there is a token for every item"),
            }
        }
        self.left -= 1;
        Ok(self.values.next().expect("there is a value for every key"))
    }

    fn list(&mut self, py: Python<'py>, n: usize) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: the tuple is new, and each place is filled once before anybody sees it.
        unsafe {
            let tuple = Bound::from_owned_ptr_or_err(py, ffi::PyTuple_New(n as isize))?;
            for place in 0..n as isize {
                ffi::PyTuple_SET_ITEM(tuple.as_ptr(), place, self.next(py)?.into_ptr());
            }
            Ok(tuple.cast_into_unchecked::<PyTuple>().into_any())
        }
    }
}
