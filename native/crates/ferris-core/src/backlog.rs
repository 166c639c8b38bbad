//! What a run has ready, until a worker comes for it.
//!
//! A run on a [`crew`](crate::crew) does not queue its tasks there, where each would stand behind whatever was queued
//! before it was ready.  It hands out *tickets*, each of which stands for the task that goes first at the moment when a
//! worker takes the ticket.  So the order within a run is the run's own: by priority, then tasks whose inputs were just
//! made, the newest first, then roots, the lowest rank first, so that few values live at a time.  And a run has few tickets
//! out, one for each lane and level, however many tasks it has: others that use the same workers take turns with it.
//!
//! A *lane* is for tasks that compete for the same resources: a ticket can wait for these, and hold nobody else up.
//!
//! # No task is left behind
//!
//! Claim: when a lane has a task that may be taken, then it has a ticket out that is at least as urgent.  What makes a task
//! such a one ([`Backlog::add`], the end or the rest of another task, a value that was released) is followed by
//! [`Backlog::offer`] for each lane, and so is [`Backlog::take`], which uses a ticket up.
//!
//! # Memory
//!
//! With a limit, roots may be taken only while the values that live, and those expected of the roots that run, take no more
//! than it.  When that leaves nothing to do, and nobody has values to take, the run is *stalled*: what lives is needed by
//! tasks that need more roots, so roots are taken all the same, until one of the tasks that wait for them is ready.

use crate::queue::{End, Nanos, Priority, Queue};

/// Tasks that are ready.
pub struct Backlog {
    queue: Queue<u32>,
    lanes: Vec<Lane>,
    /// A task that has waited this long counts one level higher; zero: never.
    aging: Nanos,
    /// Tasks that were taken and have neither ended nor rest.
    n_running: usize,
    /// Tasks that are no roots, and wait.
    n_made: usize,
    /// Values that are to be taken by whoever asked for them.
    n_untaken: usize,
    budget: Option<Budget>,
}

/// The tasks that compete for the same resources.
struct Lane {
    roots: u32,
    made: u32,
    /// The levels of the tickets that are out, the most urgent last.
    tickets: Vec<Priority>,
}

/// How much memory values may take.
struct Budget {
    limit: u64,
    /// The bytes of the values that live, by task.
    sizes: Vec<u64>,
    live: u64,
    most_live: u64,
    is_root: Vec<bool>,
    n_roots_running: u64,
    /// Roots that have ended, and the bytes of their values.
    n_roots_ended: u64,
    root_bytes: u64,
    is_stalled: bool,
}

impl Budget {
    fn has_room(&self) -> bool {
        let expected = (self.root_bytes / self.n_roots_ended.max(1)).saturating_mul(self.n_roots_running);
        self.live.saturating_add(expected) <= self.limit
    }
}

impl Backlog {
    /// No tasks, in so many lanes.
    pub fn new(n_lanes: usize, aging: Nanos) -> Self {
        let mut queue = Queue::default();
        let lane = |_| Lane { roots: queue.add_room(), made: queue.add_room(), tickets: Vec::new() };
        let lanes = (0..n_lanes).map(lane).collect();
        Self { queue, lanes, aging, n_running: 0, n_made: 0, n_untaken: 0, budget: None }
    }

    /// Holds roots back while the values of `n_tasks` tasks take more than `limit` bytes.
    pub fn limit_memory(&mut self, limit: u64, n_tasks: usize) {
        self.budget = Some(Budget {
            limit,
            sizes: vec![0; n_tasks],
            live: 0,
            most_live: 0,
            is_root: vec![false; n_tasks],
            n_roots_running: 0,
            n_roots_ended: 0,
            root_bytes: 0,
            is_stalled: false,
        });
    }

    /// The most bytes that values took at a time; none when there is no limit, and sizes are not asked for.
    pub fn most_live(&self) -> Option<u64> {
        self.budget.as_ref().map(|budget| budget.most_live)
    }

    /// Tasks that were taken and have neither ended nor rest.
    pub fn n_running(&self) -> usize {
        self.n_running
    }

    /// Adds a task that is ready from the start; lower ranks first.
    pub fn add_root(&mut self, lane: usize, priority: Priority, now: Nanos, task: u32) {
        if let Some(budget) = &mut self.budget {
            budget.is_root[task as usize] = true;
        }
        self.queue.push(self.lanes[lane].roots, priority, now, task);
    }

    /// Adds a task whose inputs were made; of those that became ready together higher ranks first.
    pub fn add(&mut self, lane: usize, priority: Priority, now: Nanos, task: u32) {
        self.n_made += 1;
        if let Some(budget) = &mut self.budget {
            budget.is_stalled = false;
        }
        self.queue.push(self.lanes[lane].made, priority, now, task);
    }

    /// The level of the ticket that a lane has to hand out now, if it has to, and by how many levels it counts higher as its
    /// task has waited.
    pub fn offer(&mut self, lane: usize, now: Nanos) -> Option<(Priority, u64)> {
        if self.aging > 0 && self.queue.has_levels() {
            self.queue.raise(now, self.aging);
        }
        let (room, _, priority) = self.first(lane)?;
        let tickets = &mut self.lanes[lane].tickets;
        if tickets.last().is_some_and(|&most| most >= priority) {
            return None;
        }
        tickets.push(priority);
        let waited = self.queue.top(room).map_or(0, |top| now.saturating_sub(top.since));
        Some((priority, waited.checked_div(self.aging).unwrap_or(0)))
    }

    /// The task that a ticket stands for now, which begins; none when another ticket has got it.
    pub fn take(&mut self, lane: usize) -> Option<u32> {
        self.lanes[lane].tickets.pop();
        let (room, end, _) = self.first(lane)?;
        let task = self.queue.pop(room, end)?;
        self.n_made -= usize::from(room == self.lanes[lane].made);
        self.begin(task);
        Some(task)
    }

    /// The task that [`Backlog::take`] would give.
    pub fn peek(&mut self, lane: usize) -> Option<u32> {
        let (room, end, _) = self.first(lane)?;
        self.queue.peek(room, end).copied()
    }

    /// A task begins, or goes on after a rest.
    pub fn begin(&mut self, task: u32) {
        self.n_running += 1;
        if let Some(budget) = &mut self.budget {
            budget.n_roots_running += u64::from(budget.is_root[task as usize]);
        }
    }

    /// A task stops for a while.
    pub fn rest(&mut self, task: u32) {
        self.n_running -= 1;
        if let Some(budget) = &mut self.budget {
            budget.n_roots_running -= u64::from(budget.is_root[task as usize]);
        }
    }

    /// A task has a value of so many bytes.
    pub fn hold(&mut self, task: u32, bytes: u64) {
        if let Some(budget) = &mut self.budget {
            budget.sizes[task as usize] = bytes;
            budget.live = budget.live.saturating_add(bytes);
            budget.most_live = budget.most_live.max(budget.live);
            if budget.is_root[task as usize] {
                budget.n_roots_ended += 1;
                budget.root_bytes = budget.root_bytes.saturating_add(bytes);
            }
        }
    }

    /// A value waits to be taken by whoever asked for it, who may have others dropped then.
    pub fn hand_out(&mut self) {
        self.n_untaken += 1;
    }

    /// A value was taken that had been handed out.
    pub fn taken(&mut self) {
        self.n_untaken -= 1;
    }

    /// The value of a task lives no longer.
    pub fn release(&mut self, task: u32) {
        if let Some(budget) = &mut self.budget {
            let bytes = std::mem::take(&mut budget.sizes[task as usize]);
            budget.live = budget.live.saturating_sub(bytes);
        }
    }

    /// Where the task of a lane is that goes first, and its level.
    fn first(&mut self, lane: usize) -> Option<(u32, End, Priority)> {
        let Lane { roots, made, .. } = self.lanes[lane];
        let of_made = self.queue.top(made).map(|top| (made, End::Newest, top.priority));
        let of_roots = self.queue.top(roots).map(|top| (roots, End::Oldest, top.priority));
        match (of_made, of_roots) {
            (Some(made), Some(roots)) if roots.2 > made.2 && self.may_begin_roots() => Some(roots),
            (Some(made), _) => Some(made),
            (None, Some(roots)) if self.may_begin_roots() => Some(roots),
            (None, _) => None,
        }
    }

    fn may_begin_roots(&mut self) -> bool {
        let is_idle = self.n_running == 0 && self.n_made == 0 && self.n_untaken == 0;
        let Some(budget) = &mut self.budget else { return true };
        let has_room = budget.has_room();
        budget.is_stalled = !has_room && (budget.is_stalled || is_idle);
        has_room || budget.is_stalled
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A backlog of so many roots, with a limit of ten bytes and room for one more task.
    fn limited(n_roots: u32) -> Backlog {
        let mut backlog = Backlog::new(1, 0);
        backlog.limit_memory(10, n_roots as usize + 1);
        for root in 0..n_roots {
            backlog.add_root(0, Priority::NORMAL, 0, root);
        }
        backlog
    }

    fn low() -> Priority {
        Priority::new(0.0, 0.0)
    }

    /// A backlog with one lane and these roots at the normal level.
    fn backlog(roots: &[u32]) -> Backlog {
        let mut backlog = Backlog::new(1, 0);
        for &root in roots {
            backlog.add_root(0, Priority::NORMAL, 0, root);
        }
        backlog
    }

    #[test]
    fn what_was_made_goes_before_roots_and_the_newest_first() {
        let mut backlog = backlog(&[0, 1]);
        backlog.add(0, Priority::NORMAL, 0, 5);
        backlog.add(0, Priority::NORMAL, 0, 4);
        let order: Vec<_> = std::iter::from_fn(|| backlog.take(0)).collect();
        assert_eq!(vec![4, 5, 0, 1], order);
    }

    #[test]
    fn a_root_of_a_higher_level_goes_first() {
        let mut backlog = Backlog::new(1, 0);
        backlog.add_root(0, Priority::NORMAL, 0, 0);
        backlog.add(0, low(), 0, 1);
        assert_eq!((Some(0), Some(1), None), (backlog.take(0), backlog.take(0), backlog.take(0)));
    }

    #[test]
    fn one_ticket_is_out_for_each_level() {
        let mut backlog = backlog(&[0, 1, 2]);
        assert_eq!(Some((Priority::NORMAL, 0)), backlog.offer(0, 0));
        assert_eq!(None, backlog.offer(0, 0), "it stands for any of them");
        let high = Priority::new(2.0, 0.0);
        backlog.add(0, high, 0, 3);
        assert_eq!(Some((high, 0)), backlog.offer(0, 0), "the other one would come too late");
        assert_eq!(Some(3), backlog.take(0));
        assert_eq!(None, backlog.offer(0, 0));
        assert_eq!(Some(0), backlog.take(0));
        assert_eq!(Some((Priority::NORMAL, 0)), backlog.offer(0, 0));
    }

    #[test]
    fn a_ticket_may_find_nothing() {
        let mut backlog = backlog(&[0]);
        assert!(backlog.offer(0, 0).is_some());
        backlog.add(0, Priority::new(2.0, 0.0), 0, 1);
        assert!(backlog.offer(0, 0).is_some());
        assert_eq!((Some(1), Some(0), None), (backlog.take(0), backlog.take(0), backlog.take(0)));
        assert_eq!((2, None), (backlog.n_running(), backlog.offer(0, 0)));
    }

    #[test]
    fn lanes_do_not_wait_for_each_other() {
        let mut backlog = Backlog::new(2, 0);
        backlog.add_root(0, Priority::NORMAL, 0, 0);
        backlog.add_root(1, Priority::NORMAL, 0, 1);
        assert!(backlog.offer(0, 0).is_some() && backlog.offer(1, 0).is_some());
        assert_eq!((Some(1), Some(0)), (backlog.take(1), backlog.take(0)));
    }

    #[test]
    fn what_has_waited_long_rises() {
        let mut backlog = Backlog::new(1, 10);
        backlog.add_root(0, low(), 0, 0);
        backlog.add_root(0, Priority::NORMAL, 9, 1);
        assert_eq!(Some((Priority::NORMAL, 1)), backlog.offer(0, 12));
        assert_eq!((Some(0), Some(1)), (backlog.take(0), backlog.take(0)));
    }

    #[test]
    fn roots_are_held_back_while_values_take_more_than_the_limit() {
        let mut backlog = limited(3);
        assert_eq!(Some(0), backlog.take(0));
        assert_eq!(Some(1), backlog.take(0), "how large it will be is not known");
        backlog.rest(0);
        backlog.hold(0, 8);
        assert_eq!(None, backlog.take(0), "the other one will be as large");
        backlog.add(0, Priority::NORMAL, 0, 3);
        assert_eq!(Some(3), backlog.take(0), "it is no root");
        backlog.rest(1);
        backlog.hold(1, 8);
        assert_eq!((None, None), (backlog.take(0), backlog.offer(0, 0)));
        backlog.release(0);
        backlog.release(1);
        assert_eq!((Some(2), Some(16)), (backlog.take(0), backlog.most_live()));
    }

    #[test]
    fn a_run_whose_values_are_to_be_taken_waits_for_that() {
        let mut backlog = limited(2);
        assert_eq!(Some(0), backlog.take(0));
        backlog.hold(0, 20);
        backlog.rest(0);
        backlog.hand_out();
        assert_eq!(None, backlog.offer(0, 0));
        backlog.taken();
        backlog.release(0);
        assert_eq!(Some(1), backlog.take(0));
    }

    #[test]
    fn a_run_that_has_nothing_else_to_do_takes_roots() {
        let mut backlog = limited(4);
        assert_eq!(Some(0), backlog.take(0));
        backlog.rest(0);
        backlog.hold(0, 20);
        assert_eq!((Some(1), Some(2)), (backlog.take(0), backlog.take(0)), "as many as there are workers");
        backlog.add(0, Priority::NORMAL, 0, 4);
        assert_eq!((Some(4), None), (backlog.take(0), backlog.take(0)), "it may make values go");
    }
}
