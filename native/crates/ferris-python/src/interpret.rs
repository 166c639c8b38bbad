//! Running one task: the reader of what the compiler has written.

use ferris_core::graph::Graph;
use pyo3::ffi;
use std::mem::MaybeUninit;
use std::ptr;

use crate::call::{self, Object};
use crate::program::{Argument, Op, Owned, Payload, Program, Template, Word, Work};
use crate::spec::Container;

/// Python has raised; the error is set on this thread.
pub struct Raised;

/// Calls with up to this many arguments keep them on the thread's own stack.
const SMALL: usize = 12;

/// The stack machine of one worker in one run.
///
/// A task may run another graph on the same thread; that run has an interpreter of its own.
#[derive(Default)]
pub struct Interpreter {
    /// Owned references, or null for an empty slot.  The first word is spare: a callee may write before its
    /// arguments, see `call::vectorcall`.
    stack: Vec<Object>,
}

impl Interpreter {
    /// Computes task `index`: a new reference.
    ///
    /// # Safety
    /// The thread is attached; the task is ready, so its inputs have values; `program` belongs to `graph`.
    #[inline]
    pub unsafe fn run(
        &mut self,
        program: &Program,
        graph: &Graph<Payload>,
        index: u32,
    ) -> Result<Object, Raised> {
        // SAFETY: by the conditions above, here and below.
        unsafe {
            match graph.payload(index).work {
                Work::Call { function, words } => call_words(function, &program.words[words.range()], graph),
                Work::Copy { of } => Ok(call::incref(graph.payload(of).value.get())),
                Work::Expand { template, words } => {
                    self.expand_words(program, graph, template, &program.words[words.range()])
                }
                Work::Node(node) => call_node(node, program, graph, index),
                Work::Nothing => unreachable!("a task that is ready has work"),
            }
        }
    }

    unsafe fn expand_words(
        &mut self,
        program: &Program,
        graph: &Graph<Payload>,
        template: u32,
        words: &[Word],
    ) -> Result<Object, Raised> {
        self.stack.clear();
        self.stack.push(ptr::null_mut());
        // SAFETY: the inputs of a ready task have values, and literals are alive.
        self.stack.extend(words.iter().map(|&word| unsafe { call::incref(value_of(word, graph)) }));
        // SAFETY: the caller's conditions.
        let outcome = unsafe { self.expand(program, graph, template, words.len()) };
        let result = outcome.map(|()| self.stack.pop().unwrap_or(ptr::null_mut()));
        // SAFETY: the stack owns what it holds.
        unsafe { self.drop_down_to(1) };
        result
    }

    /// Replaces the topmost `n` words, the parameters, by the result of a template.
    unsafe fn expand(
        &mut self,
        program: &Program,
        graph: &Graph<Payload>,
        template: u32,
        n: usize,
    ) -> Result<(), Raised> {
        let Template { ops, n_slots, .. } = &program.templates[template as usize];
        let frame = self.stack.len() - n;
        self.stack.resize(frame + *n_slots as usize, ptr::null_mut());
        for op in ops {
            // SAFETY: the caller's conditions.
            unsafe { self.step(program, graph, frame, op)? };
        }
        let result = self.stack.pop().unwrap_or(ptr::null_mut());
        // SAFETY: the stack owns what it holds.
        unsafe { self.drop_down_to(frame) };
        self.stack.push(result);
        Ok(())
    }

    unsafe fn step(
        &mut self,
        program: &Program,
        graph: &Graph<Payload>,
        frame: usize,
        op: &Op,
    ) -> Result<(), Raised> {
        // SAFETY: the caller's conditions; the compiler has counted what is on the stack and which slots hold
        // a value when.
        unsafe {
            match op {
                Op::Literal(object) => self.stack.push(call::incref(object.get())),
                Op::Task(task) => self.stack.push(call::incref(graph.payload(*task).value.get())),
                Op::Slot(slot) => self.stack.push(call::incref(self.stack[frame + *slot as usize])),
                Op::Take(slot) => {
                    let object = std::mem::replace(&mut self.stack[frame + *slot as usize], ptr::null_mut());
                    self.stack.push(object);
                }
                Op::Store(slot) => {
                    let object = self.stack.pop().unwrap_or(ptr::null_mut());
                    self.stack[frame + *slot as usize] = object;
                }
                Op::Call { function, n_positional, names, n } => {
                    let names = names.as_ref().map_or(ptr::null_mut(), Owned::get);
                    let first = self.stack.len() - *n as usize;
                    let args = self.stack.as_mut_ptr().add(first);
                    let result = call::vectorcall(function.get(), args, *n_positional as usize, names);
                    return self.replace(*n as usize, result);
                }
                Op::Build(container, n) => {
                    let items = &self.stack[self.stack.len() - *n as usize..];
                    let result = build(*container, items);
                    return self.replace(*n as usize, result);
                }
                Op::Expand { template, n } => return self.expand(program, graph, *template, *n as usize),
            }
        }
        Ok(())
    }

    /// Drops the topmost `n` words and pushes a result, which is null when Python has raised.
    unsafe fn replace(&mut self, n: usize, result: Object) -> Result<(), Raised> {
        if result.is_null() {
            return Err(Raised); // the words stay until the whole stack is dropped
        }
        // SAFETY: the stack owns what it holds.
        unsafe { self.drop_down_to(self.stack.len() - n) };
        self.stack.push(result);
        Ok(())
    }

    /// Drops everything above the lowest `n` words, the topmost first.
    unsafe fn drop_down_to(&mut self, n: usize) {
        while self.stack.len() > n {
            if let Some(object) = self.stack.pop()
                && !object.is_null()
            {
                // SAFETY: the stack owned it.
                unsafe { call::decref(object) };
            }
        }
    }
}

/// The object an argument stands for, borrowed.
#[inline]
fn value_of(word: Word, graph: &Graph<Payload>) -> Object {
    match word.argument() {
        Argument::Literal(object) => object,
        Argument::Task(task) => graph.payload(task).value.get(),
    }
}

/// Calls a function with the objects that words stand for.
#[inline]
unsafe fn call_words(function: Object, words: &[Word], graph: &Graph<Payload>) -> Result<Object, Raised> {
    if words.len() > SMALL {
        // SAFETY: the caller's conditions.
        return unsafe { call_many(function, words, graph) };
    }
    // Not initialised: filling it would cost as much as the rest of a small call.
    let mut args = [const { MaybeUninit::<Object>::uninit() }; SMALL + 1];
    for (arg, &word) in args[1..].iter_mut().zip(words) {
        arg.write(value_of(word, graph));
    }
    // SAFETY: as many arguments as there are words have been written, and one word before them is spare.
    raised(unsafe {
        call::vectorcall(function, args.as_mut_ptr().add(1).cast::<Object>(), words.len(), ptr::null_mut())
    })
}

#[cold]
unsafe fn call_many(function: Object, words: &[Word], graph: &Graph<Payload>) -> Result<Object, Raised> {
    let mut args = Vec::with_capacity(words.len() + 1);
    args.push(ptr::null_mut());
    args.extend(words.iter().map(|&word| value_of(word, graph)));
    // SAFETY: as in `call_words`.
    raised(unsafe { call::vectorcall(function, args.as_mut_ptr().add(1), words.len(), ptr::null_mut()) })
}

/// Calls a node with the values it depends on.
unsafe fn call_node(
    node: Object,
    program: &Program,
    graph: &Graph<Payload>,
    index: u32,
) -> Result<Object, Raised> {
    // SAFETY: the caller's conditions; the new dict is owned here.
    unsafe {
        let values = Owned::adopt(ffi::PyDict_New()).ok_or(Raised)?;
        for &input in graph.dependencies(index) {
            let (key, value) = (program.keys[input as usize], graph.payload(input).value.get());
            if !call::dict_set(values.get(), key, value) {
                return Err(Raised);
            }
        }
        let mut args = [ptr::null_mut(), values.get()];
        raised(call::vectorcall(node, args.as_mut_ptr().add(1), 1, ptr::null_mut()))
    }
}

/// A new container of `items`, or null with the error set.
unsafe fn build(container: Container, items: &[Object]) -> Object {
    // SAFETY: the items are alive; each new container is seen by nobody else until it is returned.
    unsafe {
        match container {
            Container::List => {
                let list = ffi::PyList_New(items.len() as isize);
                if !list.is_null() {
                    for (place, &item) in (0..).zip(items) {
                        ffi::PyList_SET_ITEM(list, place, call::incref(item));
                    }
                }
                list
            }
            Container::Tuple => {
                let tuple = ffi::PyTuple_New(items.len() as isize);
                if !tuple.is_null() {
                    for (place, &item) in (0..).zip(items) {
                        ffi::PyTuple_SET_ITEM(tuple, place, call::incref(item));
                    }
                }
                tuple
            }
            Container::Set => {
                let set = ffi::PySet_New(ptr::null_mut());
                fill(set, items.iter().all(|&item| !set.is_null() && call::set_add(set, item)))
            }
            Container::Dict => {
                let dict = ffi::PyDict_New();
                let mut pairs = items.chunks_exact(2);
                fill(dict, pairs.all(|pair| !dict.is_null() && call::dict_set(dict, pair[0], pair[1])))
            }
        }
    }
}

/// The container when it could be filled; otherwise drops it and returns null, the error being set.
unsafe fn fill(container: Object, filled: bool) -> Object {
    if filled || container.is_null() {
        return container;
    }
    // SAFETY: the container is owned here.
    unsafe { call::decref(container) };
    ptr::null_mut()
}

fn raised(result: Object) -> Result<Object, Raised> {
    if result.is_null() { Err(Raised) } else { Ok(result) }
}
