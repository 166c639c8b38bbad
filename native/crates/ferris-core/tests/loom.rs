//! Models of the protocols of a run and of the pool, explored by loom.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p ferris-core --test loom --release`.  Each model is small enough
//! to finish; `LOOM_MAX_PREEMPTIONS` bounds the exploration, and without it all interleavings are tried.  loom's
//! condition variables never time out, so a lost wake-up shows as a deadlock.
#![cfg(loom)]

use ferris_core::backlog::Backlog;
use ferris_core::bell::Bell;
use ferris_core::crew::{Accepted, Crew, NO_RESOURCES, Next as Turn, Seat, Settings, Sharing};
use ferris_core::graph::{Builder, Graph};
use ferris_core::pool::{Demand, Pool, Ticket};
use ferris_core::queue::Priority;
use ferris_core::reentrant::{Owner, Reentrant};
use ferris_core::run::{Hands, Outcome, Run};
use ferris_core::stage::{Held, Stage, StageWord};
use ferris_core::width::{Policy, Step, Width};
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

/// The payload of a modelled task: how often it ran, and its value while somebody may read it.
#[derive(Default)]
struct Cell {
    n_runs: AtomicUsize,
    value: AtomicUsize,
}

fn graph(edges: &[&[u32]], targets: &[u32]) -> Graph<Cell> {
    let mut builder = Builder::with_capacity(edges.len());
    for _ in edges {
        builder.add(Cell::default());
    }
    for (index, needs) in (0..).zip(edges) {
        builder.open(index);
        for &need in needs.iter() {
            builder.depends_on(need);
        }
    }
    builder.finish(targets).expect("the models have no faults")
}

/// Where tasks wait for each other.
struct Meeting {
    tasks: [u32; 2],
    arrived: Mutex<usize>,
    complete: Condvar,
}

impl Meeting {
    fn of(tasks: [u32; 2]) -> Arc<Self> {
        Arc::new(Self { tasks, arrived: Mutex::new(0), complete: Condvar::new() })
    }

    fn attend(&self, task: u32) {
        if self.tasks.contains(&task) {
            let mut arrived = self.arrived.lock().unwrap();
            *arrived += 1;
            self.complete.notify_all();
            while *arrived < self.tasks.len() {
                arrived = self.complete.wait(arrived).unwrap();
            }
        }
    }
}

/// Hands that check: inputs have their values, and each task runs once.
struct Checker {
    run: Arc<Run<Cell>>,
    helpers: Vec<thread::JoinHandle<()>>,
    /// The task that fails, if any.
    fails: Option<u32>,
    /// Tasks that cannot end before both have begun, if any.
    meeting: Option<Arc<Meeting>>,
}

impl Checker {
    fn new(run: &Arc<Run<Cell>>, fails: Option<u32>, meeting: Option<Arc<Meeting>>) -> Self {
        Self { run: Arc::clone(run), helpers: Vec::new(), fails, meeting }
    }

    fn join(self) {
        for helper in self.helpers {
            helper.join().unwrap();
        }
    }
}

impl Hands<Cell> for Checker {
    fn compute(&mut self, graph: &Graph<Cell>, index: u32) -> Outcome {
        for &input in graph.dependencies(index) {
            assert_eq!(1, graph.payload(input).value.load(Ordering::Relaxed), "an input has no value");
        }
        let cell = graph.payload(index);
        assert_eq!(0, cell.n_runs.fetch_add(1, Ordering::Relaxed), "a task ran twice");
        if let Some(meeting) = &self.meeting {
            meeting.attend(index);
        }
        cell.value.store(1, Ordering::Relaxed);
        if self.fails == Some(index) { Outcome::Failed } else { Outcome::Done }
    }

    fn kind(&self, _: &Graph<Cell>, _: u32) -> u64 {
        0
    }

    fn cpu_time(&self) -> Duration {
        Duration::ZERO
    }

    fn release(&mut self, cell: &Cell) {
        assert_eq!(1, cell.value.swap(0, Ordering::Relaxed), "a value was released twice or too early");
    }

    fn call_one_more(&mut self) {
        let (run, fails, meeting) = (Arc::clone(&self.run), self.fails, self.meeting.clone());
        self.helpers.push(thread::spawn(move || {
            let mut hands = Checker::new(&run, fails, meeting);
            run.help(&mut hands);
            hands.join();
        }));
    }
}

/// Runs a graph with two workers, its caller and a helper when it calls one; returns it when both have ended.
fn run_all(graph: Graph<Cell>, fails: Option<u32>, meeting: Option<Arc<Meeting>>) -> Arc<Run<Cell>> {
    let run = Arc::new(Run::new(graph, 2, Policy::Fixed));
    let mut hands = Checker::new(&run, fails, meeting);
    let mut seat = run.caller();
    while !run.is_over() {
        run.work(&mut seat, &mut hands);
        while !run.has_news() {
            run.wait(LONG);
        }
    }
    hands.join();
    run
}

fn n_runs(run: &Run<Cell>) -> Vec<usize> {
    run.graph().payloads().map(|cell| cell.n_runs.load(Ordering::Relaxed)).collect()
}

#[test]
fn two_roots_and_a_join_run_once_each() {
    loom::model(|| {
        let run = run_all(graph(&[&[], &[], &[0, 1]], &[2]), None, None);
        assert_eq!(vec![1, 1, 1], n_runs(&run));
        assert_eq!(1, run.graph().payload(2).value.load(Ordering::Relaxed), "the target keeps its value");
        assert_eq!(0, run.graph().payload(0).value.load(Ordering::Relaxed), "an inner value is released");
    });
}

#[test]
fn a_fan_out_shared_between_two_workers_ends() {
    loom::model(|| {
        let run = run_all(graph(&[&[], &[0], &[0], &[1, 2]], &[3]), None, None);
        assert_eq!(vec![1, 1, 1, 1], n_runs(&run));
    });
}

#[test]
fn a_failure_ends_the_run_for_everybody() {
    loom::model(|| {
        let run = run_all(graph(&[&[], &[], &[0, 1]], &[2]), Some(0), None);
        assert_eq!(0, n_runs(&run)[2], "what depends on a failed task does not run");
    });
}

#[test]
fn tasks_that_wait_for_each_other_both_run() {
    // Whoever makes 2 and 3 ready keeps one of them: the other worker, who may just be leaving or asleep, has to
    // take the other one, or both wait for ever.
    for parent in [0, 1] {
        loom::model(move || {
            let run = run_all(
                graph(&[&[], &[], &[parent], &[parent]], &[0, 1, 2, 3]),
                None,
                Some(Meeting::of([2, 3])),
            );
            assert_eq!(vec![1, 1, 1, 1], n_runs(&run));
        });
    }
}

/// Hands that send the helper away as soon as it has done a task, and never let it come back.
struct Narrowing(Checker);

impl Hands<Cell> for Narrowing {
    fn compute(&mut self, graph: &Graph<Cell>, index: u32) -> Outcome {
        self.0.run.width().allow(1);
        self.0.compute(graph, index)
    }

    fn kind(&self, graph: &Graph<Cell>, index: u32) -> u64 {
        self.0.kind(graph, index)
    }

    fn cpu_time(&self) -> Duration {
        self.0.cpu_time()
    }

    fn release(&mut self, cell: &Cell) {
        self.0.release(cell);
    }

    fn call_one_more(&mut self) {
        let mut hands = Narrowing(Checker::new(&self.0.run, None, None));
        self.0.helpers.push(thread::spawn(move || {
            hands.0.run.clone().help(&mut hands);
            hands.0.join();
        }));
    }
}

#[test]
fn tasks_of_a_worker_that_has_stepped_back_are_run_by_those_that_stay() {
    // With three preemptions this one takes half a minute; two find a ring left out.
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.map(|bound| bound - 1);
    builder.check(|| {
        // The helper makes 2 and 3 ready and goes; the caller, who may be asleep, has to take both.
        let run = Arc::new(Run::new(graph(&[&[], &[], &[1], &[1]], &[0, 2, 3]), 2, Policy::Adaptive));
        let mut hands = Narrowing(Checker::new(&run, None, None));
        let mut seat = run.caller();
        while !run.is_over() {
            run.work(&mut seat, &mut hands);
            while !run.has_news() {
                run.wait(LONG);
            }
        }
        hands.0.join();
        assert_eq!(vec![1, 1, 1, 1], n_runs(&run));
    });
}

#[test]
fn of_a_worker_that_steps_back_and_one_that_leaves_one_sees_the_task() {
    loom::model(|| {
        // A run of two helpers and a caller that computes nothing: one helper has a task and is not needed any more,
        // the other has found nothing.
        let shared = Arc::new((Width::new(2, Policy::Adaptive), AtomicBool::new(false)));
        shared.0.replace_caller();
        assert!(shared.0.arrive() && shared.0.enter());
        shared.0.allow(2);
        let other = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            other.1.store(true, Ordering::Relaxed);
            other.0.step_back()
        });
        shared.0.leave();
        let found = shared.1.load(Ordering::Relaxed);
        let has_gone = thread.join().unwrap();
        assert!(found || !has_gone, "the task lies there and nobody knows");
    });
}

#[test]
fn a_ring_is_never_lost() {
    loom::model(|| {
        let shared = Arc::new((Bell::default(), AtomicBool::new(false)));
        let ringer = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            ringer.1.store(true, Ordering::Relaxed);
            ringer.0.ring();
        });
        while !shared.1.load(Ordering::Relaxed) {
            shared.0.wait(LONG, || !shared.1.load(Ordering::Relaxed));
        }
        thread.join().unwrap();
    });
}

#[test]
fn a_task_left_behind_is_found_by_the_leaver_or_calls_for_help() {
    loom::model(|| {
        // Two workers of two: one leaves while the other publishes a task.
        let shared = Arc::new((Width::new(2, Policy::Fixed), AtomicBool::new(false)));
        assert!(shared.0.arrive());
        let publisher = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            publisher.1.store(true, Ordering::Relaxed);
            publisher.0.calls_one_more()
        });
        shared.0.leave();
        let found = shared.1.load(Ordering::Relaxed);
        let called = thread.join().unwrap();
        assert!(found || called, "the task lies there and nobody knows");
    });
}

#[test]
fn a_task_published_while_a_call_is_on_its_way_is_seen_by_who_arrives() {
    loom::model(|| {
        let shared = Arc::new((Width::new(2, Policy::Fixed), AtomicBool::new(false)));
        assert!(shared.0.calls_one_more());
        let publisher = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            publisher.1.store(true, Ordering::Relaxed);
            publisher.0.calls_one_more()
        });
        assert!(shared.0.arrive());
        let seen = shared.1.load(Ordering::Relaxed);
        shared.0.leave();
        let seen = seen || shared.1.load(Ordering::Relaxed);
        let called_again = thread.join().unwrap();
        assert!(seen || called_again, "the task lies there and nobody knows");
    });
}

#[test]
fn a_call_is_answered_or_the_pool_is_closed() {
    loom::model(|| {
        let pool = Arc::new(Pool::default());
        pool.raise_demand(Demand::Outer(1));
        let ticket = std::sync::Arc::new(());
        let ticket = Arc::new(Ticket::new(ticket));
        assert!(pool.call(&ticket), "there is no thread yet, so one has to be started");
        let server = Arc::clone(&pool);
        let thread = thread::spawn(move || {
            server.sign_on();
            let mut n_answered = 0;
            while let Some(ticket) = server.wait(|_, _| Step::Join) {
                n_answered += usize::from(ticket.redeem().is_some());
            }
            server.resign();
            n_answered
        });
        let other = Arc::new(Ticket::new(std::sync::Arc::new(())));
        assert!(!pool.call(&other), "one thread is all that is wanted");
        pool.close();
        assert!(thread.join().unwrap() <= 2);
        assert_eq!(0, pool.n_threads());
    });
}

#[test]
fn an_idle_thread_hears_every_call() {
    loom::model(|| {
        let pool = Arc::new(Pool::default());
        pool.raise_demand(Demand::Outer(1));
        let first = Arc::new(Ticket::new(()));
        assert!(pool.call(&first));
        let server = Arc::clone(&pool);
        let thread = thread::spawn(move || {
            (0..2).for_each(|_| drop(server.wait(|_, _| Step::Join).expect("the pool is open")));
        });
        let second = Arc::new(Ticket::new(()));
        assert!(!pool.call(&second));
        thread.join().unwrap(); // deadlocks when a call was lost
    });
}

#[test]
fn a_withdrawn_ticket_lets_go_of_its_run() {
    loom::model(|| {
        let run = std::sync::Arc::new(());
        let ticket = Arc::new(Ticket::new(std::sync::Arc::clone(&run)));
        let holder = Arc::clone(&ticket);
        let thread = thread::spawn(move || drop(holder.redeem()));
        drop(ticket.withdraw());
        thread.join().unwrap();
        assert_eq!(1, std::sync::Arc::strong_count(&run));
        assert!(ticket.look(|_| ()).is_none());
    });
}

// ---- Executors

/// The life of a worker.
fn serve<T>(crew: &Crew<T>, work: impl Fn(T)) {
    let seat = crew.sign_on();
    let mut next = crew.first(seat);
    loop {
        next = match next {
            Turn::Leave => return,
            Turn::Wait => {
                if !crew.wait(seat) {
                    return;
                }
                crew.first(seat)
            }
            Turn::Work(turn) => {
                work(turn.item);
                crew.next(seat, turn.group)
            }
        }
    }
}

/// An executor whose tasks are numbers of flags to raise.
struct Office {
    crew: Crew<usize>,
    raised: [AtomicUsize; 2],
}

impl Office {
    fn new(n_workers: usize) -> Arc<Self> {
        let settings = Settings {
            n_workers,
            n_kept: n_workers,
            most_spare: 1,
            most_queued: usize::MAX,
            aging: Duration::ZERO,
            sharing: Sharing::OneQueue,
            capacity: Vec::new(),
        };
        Arc::new(Self { crew: Crew::new(settings), raised: Default::default() })
    }

    fn submit(me: &Arc<Self>, task: usize) {
        let accepted = me.crew.submit(Seat::OUTSIDE, NO_RESOURCES, Priority::NORMAL, task);
        let Accepted { starts, .. } = accepted.expect("it is open");
        if starts {
            Self::start(me);
        }
    }

    fn start(me: &Arc<Self>) {
        let office = Arc::clone(me);
        thread::spawn(move || Self::serve(&office));
    }

    /// Task 1 is waited for by task 0 where there is one worker.
    fn serve(me: &Arc<Self>) {
        serve(&me.crew, |task| {
            if task == 0 && me.crew.settings().n_workers == 1 {
                Self::lend_while_waiting(me);
            }
            me.raised[task].fetch_add(1, Ordering::Relaxed);
        });
    }

    fn lend_while_waiting(me: &Arc<Self>) {
        if me.crew.lend().expect("one thread may stand in") {
            Self::start(me);
        }
        while me.raised[1].load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        me.crew.take_back();
    }

    fn finish(&self) {
        self.crew.close(false);
        while !self.crew.wait_until_gone(LONG) {}
        let raised = self.raised.each_ref().map(|flag| flag.load(Ordering::Relaxed));
        assert_eq!([1, 1], raised, "each task runs once");
    }
}

#[test]
fn tasks_of_an_executor_are_done_and_its_threads_go() {
    loom::model(|| {
        let office = Office::new(2);
        Office::submit(&office, 0);
        Office::submit(&office, 1);
        office.finish();
    });
}

#[test]
fn a_worker_that_has_nothing_to_do_is_called() {
    loom::model(|| {
        let office = Office::new(2);
        Office::submit(&office, 0);
        while office.raised[0].load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        Office::submit(&office, 1);
        office.finish();
    });
}

#[test]
fn a_worker_that_waits_lends_its_slot_to_the_task_it_waits_for() {
    loom::model(|| {
        let office = Office::new(1);
        Office::submit(&office, 0);
        Office::submit(&office, 1);
        office.finish();
    });
}

/// A run on an executor of two workers: two roots, and a task that needs both.
struct Outing {
    crew: Crew<()>,
    backlog: Mutex<Backlog>,
    pending: AtomicUsize,
    n_runs: [AtomicUsize; 3],
}

impl Outing {
    const LAST: u32 = 2;

    /// Begins the run; with a limit, of values that take a byte each.
    fn begin(limit: Option<u64>) -> Arc<Self> {
        let settings = Settings {
            n_workers: 2,
            n_kept: 2,
            most_spare: 0,
            most_queued: usize::MAX,
            aging: Duration::ZERO,
            sharing: Sharing::OneQueue,
            capacity: Vec::new(),
        };
        let mut backlog = Backlog::new(1, 0);
        if let Some(limit) = limit {
            backlog.limit_memory(limit, 3);
        }
        backlog.add_root(0, Priority::NORMAL, 0, 0);
        backlog.add_root(0, Priority::NORMAL, 0, 1);
        let me = Arc::new(Self {
            crew: Crew::new(settings),
            backlog: Mutex::new(backlog),
            pending: AtomicUsize::new(2),
            n_runs: Default::default(),
        });
        me.crew.begin_run(false).expect("it is open");
        Self::offer(&me);
        me
    }

    fn offer(me: &Arc<Self>) {
        let offered = me.backlog.lock().unwrap().offer(0, 0);
        let Some((priority, n_raised)) = offered else { return };
        if me.crew.follow(NO_RESOURCES, priority, n_raised, ()).expect("the run is under way") {
            let me = Arc::clone(me);
            thread::spawn(move || serve(&me.crew, |()| Self::redeem(&me)));
        }
    }

    /// Runs the task that a ticket is for; the last ends the run.
    fn redeem(me: &Arc<Self>) {
        let taken = me.backlog.lock().unwrap().take(0);
        Self::offer(me);
        let Some(task) = taken else { return };
        me.n_runs[task as usize].fetch_add(1, Ordering::Relaxed);
        if task == Self::LAST {
            return drop(me.crew.end_run(&[NO_RESOURCES], |()| true));
        }
        {
            let mut backlog = me.backlog.lock().unwrap();
            backlog.hold(task, 1);
            backlog.rest(task);
        }
        if me.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            me.backlog.lock().unwrap().add(0, Priority::NORMAL, 0, Self::LAST);
        }
        Self::offer(me);
    }

    fn finish(&self) {
        self.crew.close(false);
        while !self.crew.wait_until_gone(LONG) {}
        let n_runs = self.n_runs.each_ref().map(|n| n.load(Ordering::Relaxed));
        assert_eq!([1, 1, 1], n_runs, "each task runs once");
    }
}

#[test]
fn no_task_of_a_run_is_left_without_a_ticket() {
    loom::model(|| Outing::begin(None).finish());
}

#[test]
fn roots_that_are_held_back_begin_when_there_is_nothing_else() {
    loom::model(|| Outing::begin(Some(0)).finish());
}

#[test]
fn who_ends_a_future_sees_who_wants_to_be_told_or_is_seen() {
    loom::model(|| {
        let stage = Arc::new(StageWord::default());
        let list = Arc::new(Mutex::new((false, false))); // listed, told
        let observer = {
            let (stage, list) = (Arc::clone(&stage), Arc::clone(&list));
            thread::spawn(move || {
                let mut list = list.lock().unwrap();
                let is_over = stage.observe().is_over();
                list.0 = !is_over;
                is_over
            })
        };
        if stage.leave(Stage::Pending, Stage::Finished) == Err(Held::Observed) {
            let mut list = list.lock().unwrap();
            assert!(stage.shift(Stage::Pending, Stage::Finished));
            list.1 = list.0;
        }
        let has_seen = observer.join().unwrap();
        let (is_listed, was_told) = *list.lock().unwrap();
        assert_eq!(Stage::Finished, stage.get());
        assert!(has_seen != is_listed && was_told == is_listed);
    });
}

#[test]
fn a_thread_that_sleeps_for_a_lock_is_woken() {
    loom::model(|| {
        let reentrant = Arc::new(Reentrant::default());
        let is_taken = Arc::new(AtomicBool::new(false));
        let take = |number: usize, reentrant: &Reentrant, is_taken: &AtomicBool| {
            let me = Owner::numbered(number);
            while !reentrant.try_acquire(me) {
                if reentrant.enlist() {
                    ferris_core::sync::park(LONG);
                }
            }
            assert!(reentrant.try_acquire(me), "its owner takes it again");
            assert!(!is_taken.swap(true, Ordering::Relaxed), "one at a time");
            is_taken.store(false, Ordering::Relaxed);
            assert!(reentrant.release(me) && reentrant.release(me));
        };
        let other = {
            let (reentrant, is_taken) = (Arc::clone(&reentrant), Arc::clone(&is_taken));
            thread::spawn(move || take(0, &reentrant, &is_taken))
        };
        take(1, &reentrant, &is_taken);
        other.join().unwrap();
    });
}
