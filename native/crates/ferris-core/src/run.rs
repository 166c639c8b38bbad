#![doc = include_str!("run/README.md")]

use crate::bell::Bell;
use crate::graph::{Alone, Graph, Shared};
use crate::ready::{Ready, Seat};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::width::{Meter, Policy, Width};
use std::time::Duration;

/// What became of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has its value.
    Done,
    /// It failed: the run stops.
    Failed,
    /// It was not begun, and is left to other workers, like all tasks from now on.
    Declined,
}

/// What a run needs from outside: somebody who can compute tasks.  One per worker.
pub trait Hands<P> {
    /// Computes task `index` and stores its value.
    fn compute(&mut self, graph: &Graph<P>, index: u32) -> Outcome;

    /// A number that tasks of the same kind, which are likely to take as long, have in common.
    fn kind(&self, graph: &Graph<P>, index: u32) -> u64;

    /// The processor time that this thread has used.
    fn cpu_time(&self) -> Duration;

    /// Drops a value that nobody needs any more.
    fn release(&mut self, payload: &P);

    /// Asks for one more worker, which is to call [`Run::help`].
    fn call_one_more(&mut self);
}

/// Runs a graph on this thread alone; false when a task stopped it.
pub fn run_alone<P>(graph: &Graph<P>, hands: &mut impl Hands<P>) -> bool {
    let mut ready = Vec::with_capacity(16);
    for &root in graph.roots() {
        ready.push(root);
        while let Some(index) = ready.pop() {
            if hands.compute(graph, index) != Outcome::Done {
                return false;
            }
            graph.settle::<Alone>(index, |_, payload| hands.release(payload), |task| ready.push(task));
        }
    }
    true
}

/// Why a worker has stopped looking for tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Idle {
    /// There are none, for the moment or for good.
    FoundNothing,
    /// The run has more workers than get most done.
    TooWide,
    /// It leaves them to others.
    Declined,
}

/// What a helper does after it has helped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing more for this run.
    Go,
    /// It watches the run, to join again when that is right.
    Watch,
}

/// One execution of a graph by several workers, the calling thread first among them.
pub struct Run<P> {
    graph: Graph<P>,
    ready: Ready,
    width: Width,
    /// Targets that have not finished.
    unfinished: AtomicUsize,
    /// All targets have finished, or the run was stopped: no task starts any more.
    over: AtomicBool,
    caller: Bell,
    /// The caller leaves all tasks to helpers.
    caller_is_guest: AtomicBool,
}

impl<P> Run<P> {
    /// A run by at most `n_workers` workers, one of which is the caller's.
    pub fn new(graph: Graph<P>, n_workers: usize, policy: Policy) -> Self {
        let n_workers = n_workers.clamp(1, graph.len().max(1));
        Self {
            // One seat more: for who takes the caller's place.
            ready: Ready::new(graph.roots(), n_workers + 1),
            width: Width::new(n_workers, policy),
            unfinished: AtomicUsize::new(graph.n_targets()),
            over: AtomicBool::new(graph.n_targets() == 0),
            caller: Bell::default(),
            caller_is_guest: AtomicBool::new(false),
            graph,
        }
    }

    /// Has one more helper do what the caller would: from now on the caller computes nothing.
    pub fn replace_caller(&self) {
        if !self.caller_is_guest.swap(true, Ordering::Relaxed) {
            self.width.replace_caller();
        }
    }

    /// The number of workers, for a thread that was called to look at.
    pub fn width(&self) -> &Width {
        &self.width
    }

    /// The graph this run executes.
    pub fn graph(&self) -> &Graph<P> {
        &self.graph
    }

    /// True when no task will start any more.
    #[inline]
    pub fn is_over(&self) -> bool {
        // Acquire: who sees the end sees the values of all targets.
        self.over.load(Ordering::Acquire)
    }

    /// Ends the run: no task starts any more and the caller wakes.
    pub fn stop(&self) {
        self.over.store(true, Ordering::Release);
        self.caller.ring();
    }

    /// The caller's seat.
    ///
    /// # Panics
    /// When it was taken already.
    pub fn caller(&self) -> Seat {
        self.ready.hire().expect("the run has a seat for its caller")
    }

    /// Gives the caller's seat back.
    pub fn dismiss(&self, seat: Seat) {
        self.ready.dismiss(seat);
    }

    /// Works as the caller until there is nothing more to do, for the moment or for good; false when the caller
    /// declines to go on and has to be replaced.
    pub fn work(&self, seat: &mut Seat, hands: &mut impl Hands<P>) -> bool {
        self.work_on(seat, hands, false) != Idle::Declined
    }

    fn work_on(&self, seat: &mut Seat, hands: &mut impl Hands<P>, may_leave: bool) -> Idle {
        let mut meter = Meter::default();
        let mut found = self.ready.find(seat);
        if found.is_some() && self.ready.has_work() {
            self.share(hands);
        }
        while let Some(index) = found
            && !self.is_over()
        {
            self.width.begin_task();
            match hands.compute(&self.graph, index) {
                Outcome::Done => self.settle(seat, hands, index),
                Outcome::Failed => self.stop(),
                Outcome::Declined => {
                    seat.push(index);
                    seat.publish();
                    return Idle::Declined;
                }
            }
            if self.width.is_paced() {
                let kind = || hands.kind(&self.graph, index);
                self.width.end_task(&mut meter, kind, || hands.cpu_time());
                if may_leave && self.width.is_too_wide() {
                    seat.publish();
                    return Idle::TooWide;
                }
            }
            found = self.ready.find(seat);
        }
        Idle::FoundNothing
    }

    /// Accounts for the end of a task.
    fn settle(&self, seat: &mut Seat, hands: &mut impl Hands<P>, index: u32) {
        let mut has_surplus = false;
        let is_target = self.graph.settle::<Shared>(
            index,
            |_, payload| hands.release(payload),
            |task| has_surplus |= seat.push(task),
        );
        if has_surplus {
            self.share(hands);
        }
        // AcqRel: the worker that finishes the last target has seen the values of all others.
        if is_target && self.unfinished.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.stop();
        }
    }

    /// Finds somebody for tasks that this worker leaves to others.
    fn share(&self, hands: &mut impl Hands<P>) {
        let is_guest = self.caller_is_guest.load(Ordering::Relaxed);
        if (is_guest || !self.caller.ring()) && self.width.calls_one_more() {
            hands.call_one_more();
        }
    }

    /// Finds a first helper, on behalf of a caller that computes nothing.
    pub fn begin(&self, hands: &mut impl Hands<P>) {
        if self.has_work_left() {
            self.share(hands);
        }
    }

    /// True when there are tasks and nobody has come to compute them.
    pub fn is_deserted(&self) -> bool {
        self.has_work_left() && self.width.is_alone()
    }

    /// Sleeps until the run is over, at most `limit`.
    pub fn wait_for_end(&self, limit: Duration) {
        self.caller.wait(limit, || !self.is_over());
    }

    /// True when there is something to do, or nothing any more.
    pub fn has_news(&self) -> bool {
        self.is_over() || self.ready.has_work()
    }

    /// Sleeps until the run has news for the caller, at most `limit`.
    pub fn wait(&self, limit: Duration) {
        self.caller.wait(limit, || !self.has_news());
    }

    /// Works as a called helper until there is nothing more to do; the number of tasks stolen.
    pub fn help(&self, hands: &mut impl Hands<P>) -> (u64, Next) {
        let mut n_steals = 0;
        let mut is_in = self.width.arrive();
        while is_in {
            let mut seat = self.ready.hire().expect("there is a seat for every worker that was counted in");
            let idle = self.work_on(&mut seat, hands, true);
            n_steals += seat.take_n_steals();
            self.ready.dismiss(seat); // before it is counted out: the next one in needs the seat
            if idle != Idle::TooWide {
                self.width.leave();
                is_in = self.has_work_left() && self.width.enter();
            } else if self.width.step_back() {
                return (n_steals, self.leave_tasks_behind());
            }
        }
        (n_steals, Next::Go)
    }

    /// Tells somebody of the tasks of a worker that has stepped back.
    fn leave_tasks_behind(&self) -> Next {
        self.caller.ring();
        if self.width.watches_again() { Next::Watch } else { Next::Go }
    }

    fn has_work_left(&self) -> bool {
        !self.is_over() && self.ready.has_work()
    }
}
