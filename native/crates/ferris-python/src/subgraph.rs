//! Lowering a fused subgraph: the tasks that Dask has fused into one become one template.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::call::Object;
use crate::compile::Compiler;
use crate::error;
use crate::keys::{Items, KeyTable, Mixed};
use crate::lower::{FIRST_INPUT, Lowered, Obstacle, Scope};
use crate::program::{Op, Owned, Template};
use crate::spec::Type;

/// The identity of a fused subgraph: inner graph, output key and input keys, each by address.
///
/// The compiler holds all three.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subgraph(Object, Object, Object);

impl<'py> Compiler<'py> {
    /// The template of a fused subgraph, made when its inner graph is first seen.
    ///
    /// # Safety
    /// `args` are the arguments of `_execute_subgraph`.
    pub unsafe fn subgraph(&mut self, args: &Bound<'py, PyTuple>, depth: u32) -> Lowered<u32> {
        if args.len() < FIRST_INPUT {
            return Err(Obstacle::Unknown);
        }
        let (inner, output, inputs) = (args.get_item(0)?, args.get_item(1)?, args.get_item(2)?);
        let n_inputs = args.len() - FIRST_INPUT;
        let inputs = inputs.cast_into_exact::<PyTuple>().map_err(|_| Obstacle::Unknown)?;
        let inner = inner.cast_into_exact::<PyDict>().map_err(|_| Obstacle::Unknown)?;
        if inputs.len() != n_inputs {
            return Err(Obstacle::Unknown);
        }
        let identity = Subgraph(inner.as_ptr(), output.as_ptr(), inputs.as_ptr());
        if let Some(&known) = self.subgraphs.get(&identity) {
            return known.ok_or(Obstacle::Unknown);
        }
        for object in [inner.as_any(), &output, inputs.as_any()] {
            self.held.push(Owned::from_bound(object.clone())); // or another could come to the same address
        }
        // Entered before it is lowered: a graph that contains itself is not lowered for ever.
        self.subgraphs.insert(identity, None);
        let lowered = self.lower_inner(&inner, &output, &inputs, depth);
        let known = lowered.map(|template| self.add_template(template));
        if known.is_err() {
            self.subgraphs.remove(&identity); // elsewhere it may be nested less deeply
        } else {
            self.subgraphs.insert(identity, known.as_ref().ok().copied());
        }
        known
    }

    /// Lowers the inner graph of a fused task: each node fills a slot, inputs first.
    fn lower_inner(
        &mut self,
        inner: &Bound<'py, PyDict>,
        output: &Bound<'py, PyAny>,
        inputs: &Bound<'py, PyTuple>,
        depth: u32,
    ) -> Lowered<Template> {
        let n_inputs = inputs.len() as u32;
        let inner = inner.copy()?; // comparing keys may run Python code, which must not change what is read here
        let (slots, nodes) = self.name_slots(&inner, inputs)?;
        let mut steps = Vec::with_capacity(nodes.len());
        for node in nodes {
            let mut ops = Vec::new();
            // SAFETY: `inner` keeps its nodes alive.
            unsafe { self.emit(node, Scope::Frame(&slots), depth, &mut ops)? };
            steps.push(ops);
        }
        // SAFETY: the key is alive.
        let output = unsafe { slots.find(self.py, output.as_ptr()) };
        // What cannot be looked up, as a node, Dask may know how to read.
        let output = match output {
            Err(error) if error::is_ordinary(self.py, &error) => None,
            found => found?,
        };
        let output = output.ok_or(Obstacle::Unknown)?;
        let n_slots = n_inputs + steps.len() as u32;
        let mut ops = in_order(steps, n_inputs, output)?;
        ops.push(Op::Slot(output));
        take_at_last_use(&mut ops, n_slots);
        self.template(ops, n_slots)
    }

    /// Names the slots of a frame, and lists the nodes that fill those after the inputs.
    fn name_slots(
        &self,
        inner: &Bound<'py, PyDict>,
        inputs: &Bound<'py, PyTuple>,
    ) -> Lowered<(KeyTable, Vec<Object>)> {
        let mut slots = KeyTable::with_capacity(inner.len() + inputs.len());
        for key in inputs.iter_borrowed() {
            // SAFETY: the tuple keeps the key alive.
            if unsafe { slots.find(self.py, key.as_ptr())? }.is_some() {
                return Err(Obstacle::Unknown);
            }
            // SAFETY: as above.
            slots.insert(key.as_ptr(), unsafe { Mixed::of(self.py, key.as_ptr())? });
        }
        let mut nodes = Vec::with_capacity(inner.len());
        // SAFETY: `inner` keeps its items alive, and nobody else knows it.
        unsafe {
            for item in Items::of(inner) {
                let mixed = item.mixed(self.py)?;
                // An input takes the place of an inner node of the same name.
                if slots.find_mixed(self.py, item.key, mixed)?.is_none() {
                    slots.insert(item.key, mixed);
                    nodes.push(item.value);
                }
            }
            // A raw value is no node, and Dask would fail on it: let it.
            if nodes.iter().any(|&node| !self.spec.is_node(Type::of(node))) {
                return Err(Obstacle::Unknown);
            }
        }
        Ok((slots, nodes))
    }
}

/// The steps that fill the slots, each after those it reads and `output` last.
///
/// `steps[k]` computes slot `n_inputs + k`.  A walk in post-order, like the one that ranks a graph.
fn in_order(mut steps: Vec<Vec<Op>>, n_inputs: u32, output: u32) -> Lowered<Vec<Op>> {
    let mut order = InOrder { n_inputs, state: vec![Visit::Unseen; steps.len()], path: Vec::new() };
    let mut ops = Vec::new();
    order.visit(output)?;
    while let Some((node, read)) = order.path.last_mut() {
        let op = steps[*node].get(*read);
        *read += 1;
        match op {
            Some(&Op::Slot(slot)) => order.visit(slot)?,
            Some(_) => {}
            None => {
                ops.append(&mut steps[*node]);
                ops.push(Op::Store(n_inputs + *node as u32));
                order.leave();
            }
        }
    }
    // Dask runs inner nodes that the output does not need, too: leave such a graph to it.
    if order.is_complete() { Ok(ops) } else { Err(Obstacle::Unknown) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    Unseen,
    Open,
    Done,
}

/// The walk of [`in_order`]: how far each node is, and the open ones with the number of steps read.
struct InOrder {
    n_inputs: u32,
    state: Vec<Visit>,
    path: Vec<(usize, usize)>,
}

impl InOrder {
    fn visit(&mut self, slot: u32) -> Lowered<()> {
        let Some(node) = slot.checked_sub(self.n_inputs) else { return Ok(()) };
        let node = node as usize;
        match self.state[node] {
            Visit::Unseen => {
                self.state[node] = Visit::Open;
                self.path.push((node, 0));
                Ok(())
            }
            Visit::Open => Err(Obstacle::Unknown), // a cycle: Dask reports it
            Visit::Done => Ok(()),
        }
    }

    fn is_complete(&self) -> bool {
        self.state.iter().all(|&state| state == Visit::Done)
    }

    fn leave(&mut self) {
        if let Some((node, _)) = self.path.pop() {
            self.state[node] = Visit::Done;
        }
    }
}

/// Lets the last step that reads a slot empty it, so that an inner value dies with its last reader.
fn take_at_last_use(ops: &mut [Op], n_slots: u32) {
    let mut used = vec![false; n_slots as usize];
    for op in ops.iter_mut().rev() {
        if let Op::Slot(slot) = *op
            && !std::mem::replace(&mut used[slot as usize], true)
        {
            *op = Op::Take(slot);
        }
    }
}
