//! A task graph as flat arrays.
//!
//! Tasks sit in one array; what a task depends on and what depends on it are ranges of two more.  A [`Builder`]
//! collects tasks and dependencies, [`Builder::finish`] ranks what the targets need and gives a [`Graph`], and
//! [`Graph::settle`] accounts for the end of a task.

use crate::rank;
use crate::sync::atomic::{AtomicU32, Ordering};
use std::mem::take;
use std::ops::Range;

/// The result of this task was asked for, so its value lives to the end.
const TARGET: u8 = 1;
/// The value is known before the run starts.
const KNOWN: u8 = 2;
/// A dependency of this task does not exist.
const UNRESOLVED: u8 = 4;

/// Up to this many dependencies, repeats are found by a scan of those listed so far.
const SCANNED: u32 = 8;

/// More tasks or dependencies than this do not fit the indices, which leave room for a few markers.
const MOST: usize = 1 << 31;

/// One task: its payload, its place in the arrays and the two counters of its run.
///
/// With a payload of 32 bytes a task fills one cache line.
#[derive(Debug)]
#[repr(align(64))]
pub struct Task<P> {
    payload: P,
    first_dependency: u32,
    n_dependencies: u32,
    first_dependent: u32,
    n_dependents: u32,
    /// Dependencies that have not finished; who brings it to zero makes the task ready.
    pending: AtomicU32,
    /// Dependents that have not finished; who brings it to zero releases the value.
    consumers: AtomicU32,
    flags: u8,
}

impl<P> Task<P> {
    fn new(payload: P) -> Self {
        Self {
            payload,
            first_dependency: 0,
            n_dependencies: 0,
            first_dependent: 0,
            n_dependents: 0,
            pending: AtomicU32::new(0),
            consumers: AtomicU32::new(0),
            flags: 0,
        }
    }

    /// Where the dependencies of this task are listed.
    pub(crate) fn dependencies(&self) -> Range<usize> {
        range(self.first_dependency, self.n_dependencies)
    }

    fn dependents(&self) -> Range<usize> {
        range(self.first_dependent, self.n_dependents)
    }

    pub(crate) fn is_unresolved(&self) -> bool {
        self.flags & UNRESOLVED != 0
    }

    fn is_known(&self) -> bool {
        self.flags & KNOWN != 0
    }

    fn is_target(&self) -> bool {
        self.flags & TARGET != 0
    }
}

fn range(first: u32, n: u32) -> Range<usize> {
    first as usize..first as usize + n as usize
}

/// Why a graph cannot be run.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// These tasks depend on each other, each on the next and the last on the first.
    Cycle(Vec<u32>),
    /// This task, which a target needs, was marked with [`Builder::set_unresolved`].
    Unresolved(u32),
    /// There are more tasks or dependencies than indices of 32 bits can name.
    TooLarge,
}

/// Collects the tasks of a graph and their dependencies.
pub struct Builder<P> {
    tasks: Vec<Task<P>>,
    dependencies: Vec<u32>,
    /// The task whose dependencies are being listed.
    open: u32,
    /// How many lists were begun: the stamp of the open one.
    stamp: u32,
    /// For tasks with many dependencies: the stamp of the last list that named this one.
    listed_in: Vec<u32>,
}

impl<P> Builder<P> {
    /// A builder for about `n` tasks.
    pub fn with_capacity(n: usize) -> Self {
        Self {
            tasks: Vec::with_capacity(n),
            dependencies: Vec::with_capacity(n + n / 2),
            open: 0,
            stamp: 0,
            listed_in: Vec::new(),
        }
    }

    /// Adds a task and returns its index.
    pub fn add(&mut self, payload: P) -> u32 {
        self.tasks.push(Task::new(payload));
        self.tasks.len() as u32 - 1
    }

    /// The payload of a task.
    pub fn payload_mut(&mut self, index: u32) -> &mut P {
        &mut self.tasks[index as usize].payload
    }

    /// Marks a task whose value is in its payload already: it is never run.
    pub fn set_known(&mut self, index: u32) {
        self.tasks[index as usize].flags |= KNOWN;
    }

    /// Marks a task that cannot be run; it is a fault only when a target needs it.
    pub fn set_unresolved(&mut self, index: u32) {
        self.tasks[index as usize].flags |= UNRESOLVED;
    }

    /// Starts the list of dependencies of task `index`, or starts it again if it is still the open one.
    pub fn open(&mut self, index: u32) {
        let task = &mut self.tasks[index as usize];
        if task.n_dependencies > 0 {
            self.dependencies.truncate(task.first_dependency as usize);
        }
        task.first_dependency = self.dependencies.len() as u32;
        task.n_dependencies = 0;
        self.open = index;
        self.stamp += 1;
    }

    /// Records that the open task needs the value of `dependency`; repeats are ignored.
    pub fn depends_on(&mut self, dependency: u32) {
        let task = &self.tasks[self.open as usize];
        let listed = &self.dependencies[task.first_dependency as usize..];
        let repeated = if task.n_dependencies < SCANNED {
            listed.contains(&dependency)
        } else {
            is_stamped(&mut self.listed_in, self.tasks.len(), self.stamp, listed, dependency)
        };
        if !repeated {
            self.dependencies.push(dependency);
            self.tasks[self.open as usize].n_dependencies += 1;
        }
    }

    /// Ranks everything the targets need and returns a graph that is ready to run.
    ///
    /// Tasks that no target needs stay in the arrays but never become ready.  After a fault the builder keeps all
    /// payloads, for the caller to drop.
    pub fn finish(&mut self, targets: &[u32]) -> Result<Graph<P>, Fault> {
        if self.tasks.len().max(self.dependencies.len()) > MOST {
            return Err(Fault::TooLarge);
        }
        let order = rank::depth_first(&self.tasks, &mut self.dependencies, targets)?;
        let (mut tasks, dependencies) = (take(&mut self.tasks), take(&mut self.dependencies));
        let n_targets = mark_targets(&mut tasks, targets);
        let n_to_run = order.iter().filter(|&&index| !tasks[index as usize].is_known()).count();
        let (dependents, roots) = link(&mut tasks, &dependencies, &order);
        Ok(Graph { tasks, dependencies, dependents, roots, n_targets, n_to_run })
    }
}

/// True when `dependency` is among `listed`, found through one stamp per task: a wide fan-in stays linear.
fn is_stamped(stamps: &mut Vec<u32>, n_tasks: usize, stamp: u32, listed: &[u32], dependency: u32) -> bool {
    stamps.resize(n_tasks, 0);
    if listed.len() == SCANNED as usize {
        for &early in listed {
            stamps[early as usize] = stamp;
        }
    }
    std::mem::replace(&mut stamps[dependency as usize], stamp) == stamp
}

/// Flags the targets and counts those that have to be computed.
fn mark_targets<P>(tasks: &mut [Task<P>], targets: &[u32]) -> usize {
    let mut n = 0;
    for &target in targets {
        let task = &mut tasks[target as usize];
        n += usize::from(!task.is_target() && !task.is_known());
        task.flags |= TARGET;
    }
    n
}

/// Fills the lists of dependents and the counters; `order` is every needed task by rank.
///
/// Returns the dependents of all tasks and the roots by rank.  The lists of dependents are filled from the
/// highest rank down, so that who pushes a list on a stack pops the lowest rank first.
fn link<P>(tasks: &mut [Task<P>], dependencies: &[u32], order: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let n_edges = reserve_dependents(tasks, dependencies, order);
    let mut dependents = vec![0; n_edges as usize];
    let mut roots = Vec::new();
    for &index in order.iter().rev() {
        let mut pending = 0;
        for &dependency in &dependencies[tasks[index as usize].dependencies()] {
            let task = &mut tasks[dependency as usize];
            dependents[(task.first_dependent + task.n_dependents) as usize] = index;
            task.n_dependents += 1;
            pending += u32::from(!task.is_known());
        }
        let task = &mut tasks[index as usize];
        task.pending = AtomicU32::new(pending);
        if pending == 0 && !task.is_known() {
            roots.push(index);
        }
    }
    roots.reverse();
    (dependents, roots)
}

/// Gives every needed task its range of dependents, still empty, and its count of consumers.
fn reserve_dependents<P>(tasks: &mut [Task<P>], dependencies: &[u32], order: &[u32]) -> u32 {
    for &index in order {
        for &dependency in &dependencies[tasks[index as usize].dependencies()] {
            tasks[dependency as usize].n_dependents += 1;
        }
    }
    let mut n_edges = 0;
    for &index in order {
        let task = &mut tasks[index as usize];
        task.first_dependent = n_edges;
        n_edges += task.n_dependents;
        // Whoever asked for a target is one more.
        task.consumers = AtomicU32::new(task.n_dependents + u32::from(task.is_target()));
        task.n_dependents = 0;
    }
    n_edges
}

/// A graph that is ready to run, once.
#[derive(Debug)]
pub struct Graph<P> {
    tasks: Vec<Task<P>>,
    dependencies: Vec<u32>,
    dependents: Vec<u32>,
    roots: Vec<u32>,
    n_targets: usize,
    n_to_run: usize,
}

impl<P> Graph<P> {
    /// How many tasks there are, needed or not.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// True when there is no task at all.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The distinct targets that have to be computed.
    ///
    /// Every needed task is one that some target waits for, so when these have finished, all have.
    pub fn n_targets(&self) -> usize {
        self.n_targets
    }

    /// How many tasks have to be computed.
    pub fn n_to_run(&self) -> usize {
        self.n_to_run
    }

    /// The tasks that are ready from the start, lowest rank first.
    pub fn roots(&self) -> &[u32] {
        &self.roots
    }

    /// The payload of a task.
    #[inline]
    pub fn payload(&self, index: u32) -> &P {
        &self.tasks[index as usize].payload
    }

    /// The payloads of all tasks, in the order they were added.
    pub fn payloads(&self) -> impl Iterator<Item = &P> {
        self.tasks.iter().map(|task| &task.payload)
    }

    /// The tasks that some target needs, targets and known values included.
    pub fn needed(&self) -> impl Iterator<Item = u32> {
        let is_needed = |task: &Task<P>| task.is_target() || task.n_dependents > 0;
        (0..).zip(&self.tasks).filter(move |(_, task)| is_needed(task)).map(|(index, _)| index)
    }

    /// True when the value of a task was in its payload from the start.
    pub fn is_known(&self, index: u32) -> bool {
        self.tasks[index as usize].is_known()
    }

    /// The tasks whose values task `index` needs, each once.
    pub fn dependencies(&self, index: u32) -> &[u32] {
        &self.dependencies[self.tasks[index as usize].dependencies()]
    }

    /// The tasks that need the value of task `index`, of those that any target needs.
    pub fn dependents(&self, index: u32) -> &[u32] {
        &self.dependents[self.tasks[index as usize].dependents()]
    }

    /// Accounts for the end of task `index` and says whether it was a target.
    ///
    /// `release` gets each task whose value nobody needs any more, and its payload; `ready` each task that has
    /// become ready, highest rank first.
    #[inline]
    pub fn settle<C: Counting>(
        &self,
        index: u32,
        release: impl FnMut(u32, &P),
        ready: impl FnMut(u32),
    ) -> bool {
        self.release_values::<C>(index, release);
        self.make_ready::<C>(index, ready);
        self.tasks[index as usize].is_target()
    }

    #[inline]
    fn release_values<C: Counting>(&self, index: u32, mut release: impl FnMut(u32, &P)) {
        let task = &self.tasks[index as usize];
        if task.n_dependents == 0 && !task.is_target() {
            release(index, &task.payload);
        }
        for &dependency in &self.dependencies[task.dependencies()] {
            let needed = &self.tasks[dependency as usize];
            if C::is_last(&needed.consumers) {
                release(dependency, &needed.payload);
            }
        }
    }

    /// Accounts for a target whose value whoever asked for it has taken; `release` as in [`Graph::settle`].
    ///
    /// Without this the values of targets stay.
    pub fn hand_over<C: Counting>(&self, target: u32, release: impl FnOnce(u32, &P)) {
        let task = &self.tasks[target as usize];
        if C::is_last(&task.consumers) {
            release(target, &task.payload);
        }
    }

    #[inline]
    fn make_ready<C: Counting>(&self, index: u32, mut ready: impl FnMut(u32)) {
        for &dependent in self.dependents(index) {
            if C::is_last(&self.tasks[dependent as usize].pending) {
                ready(dependent);
            }
        }
    }
}

/// How the counters of a run are brought down.
pub trait Counting {
    /// Takes one off `counter`; true when that was the last.
    fn is_last(counter: &AtomicU32) -> bool;
}

/// One worker and no other: plain loads and stores.
pub struct Alone;

/// Any number of workers.
pub struct Shared;

impl Counting for Alone {
    #[inline]
    fn is_last(counter: &AtomicU32) -> bool {
        let left = counter.load(Ordering::Relaxed) - 1;
        counter.store(left, Ordering::Relaxed);
        left == 0
    }
}

impl Counting for Shared {
    #[inline]
    fn is_last(counter: &AtomicU32) -> bool {
        // Release: the value this worker stored goes before its decrement.  Acquire: the worker that brings
        // the counter to zero sees what all the others stored before theirs.
        counter.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A graph in which task `i` depends on `edges[i]`, its payload being its index.
    fn graph(edges: &[&[u32]], targets: &[u32]) -> Result<Graph<u32>, Fault> {
        let mut builder = Builder::with_capacity(edges.len());
        for index in 0..edges.len() as u32 {
            builder.add(index);
        }
        for (index, needs) in (0..).zip(edges) {
            builder.open(index);
            for &need in *needs {
                builder.depends_on(need);
            }
        }
        builder.finish(targets)
    }

    /// Runs a graph alone and returns the order of tasks and of released values.
    fn run(graph: &Graph<u32>) -> (Vec<u32>, Vec<u32>) {
        let (mut order, mut released) = (vec![], vec![]);
        let mut stack: Vec<u32> = graph.roots().iter().rev().copied().collect();
        while let Some(index) = stack.pop() {
            order.push(index);
            graph.settle::<Alone>(index, |_, &payload| released.push(payload), |task| stack.push(task));
        }
        (order, released)
    }

    #[test]
    fn a_chain_runs_in_order_and_releases_each_value_once() {
        let chain = graph(&[&[], &[0], &[1]], &[2]).unwrap();
        assert_eq!((vec![0, 1, 2], vec![0, 1]), run(&chain));
    }

    #[test]
    fn a_target_is_released_when_its_last_consumer_and_whoever_asked_have_had_it() {
        let released = |take_first: bool| {
            let fork = graph(&[&[], &[0]], &[0, 1]).unwrap();
            let released = std::cell::RefCell::new(vec![]);
            let release = |index, _: &u32| released.borrow_mut().push(index);
            fork.settle::<Alone>(0, release, |_| ());
            if take_first {
                fork.hand_over::<Alone>(0, release);
            }
            fork.settle::<Alone>(1, release, |_| ());
            if !take_first {
                fork.hand_over::<Alone>(0, release);
            }
            assert_eq!(vec![0], *released.borrow());
            fork.hand_over::<Alone>(1, release);
            released.into_inner()
        };
        assert_eq!((vec![0, 1], vec![0, 1]), (released(true), released(false)));
    }

    #[test]
    fn repeated_dependencies_count_once() {
        let wide: Vec<u32> = (0..40).chain(0..40).collect();
        let mut edges: Vec<&[u32]> = vec![&[]; 40];
        edges.push(&wide);
        let fan_in = graph(&edges, &[40]).unwrap();
        assert_eq!(40, fan_in.dependencies(40).len());
        assert_eq!(41, run(&fan_in).0.len());
    }

    #[test]
    fn what_no_target_needs_does_not_run() {
        let two = graph(&[&[], &[], &[1]], &[0]).unwrap();
        assert_eq!((vec![0], vec![]), run(&two));
    }

    #[test]
    fn a_known_value_is_no_root_and_does_not_block() {
        let mut builder = Builder::with_capacity(2);
        let (data, task) = (builder.add(0), builder.add(1));
        builder.set_known(data);
        builder.open(task);
        builder.depends_on(data);
        let graph = builder.finish(&[task, data]).unwrap();
        assert_eq!((&[task][..], 1), (graph.roots(), graph.n_targets()));
        assert_eq!((vec![task], vec![]), run(&graph));
    }

    #[test]
    fn a_cycle_names_its_tasks_in_order() {
        assert_eq!(Fault::Cycle(vec![1, 2]), graph(&[&[1], &[2], &[1]], &[0]).unwrap_err());
        assert_eq!(Fault::Cycle(vec![0]), graph(&[&[0]], &[0]).unwrap_err());
    }

    #[test]
    fn an_unresolved_task_is_a_fault_only_when_needed() {
        let build = |targets: &[u32]| {
            let mut builder = Builder::with_capacity(2);
            builder.add(0);
            builder.add(1);
            builder.set_unresolved(1);
            builder.finish(targets)
        };
        assert_eq!(Fault::Unresolved(1), build(&[1]).unwrap_err());
        assert!(build(&[0]).is_ok());
    }

    #[test]
    fn opening_a_task_again_forgets_what_was_listed() {
        let mut builder = Builder::with_capacity(20);
        (0..20).for_each(|index| assert_eq!(index, builder.add(index)));
        builder.open(19);
        (0..12).for_each(|need| builder.depends_on(need));
        builder.open(19);
        (4..16).for_each(|need| builder.depends_on(need));
        let graph = builder.finish(&[19]).unwrap();
        assert_eq!(12, graph.dependencies(19).len());
    }
}
