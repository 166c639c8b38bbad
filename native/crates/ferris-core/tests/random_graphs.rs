//! Random graphs, run alone and by several threads, against what any right execution has in common.
//!
//! `FERRIS_LONG=1` tries many more of them.
#![cfg(not(loom))]

use ferris_core::graph::{Builder, Graph};
use ferris_core::run::{Hands, Outcome, Run, run_alone};
use ferris_core::width::Policy;
use proptest::prelude::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// What happened to a task.
#[derive(Default)]
struct Trace {
    runs: AtomicUsize,
    /// 1 while the value may be read.
    alive: AtomicUsize,
}

/// Hands that write down what they do.
struct Recorder<'a> {
    order: &'a Mutex<Vec<u32>>,
    /// Where calls for help go.
    calls: Option<Sender<()>>,
}

impl Hands<Trace> for Recorder<'_> {
    fn compute(&mut self, graph: &Graph<Trace>, index: u32) -> Outcome {
        for &input in graph.dependencies(index) {
            assert_eq!(1, graph.payload(input).alive.load(Ordering::Relaxed), "task {index}, input {input}");
        }
        graph.payload(index).runs.fetch_add(1, Ordering::Relaxed);
        graph.payload(index).alive.store(1, Ordering::Relaxed);
        self.order.lock().unwrap().push(index);
        Outcome::Done
    }

    fn kind(&self, _: &Graph<Trace>, _: u32) -> u64 {
        0
    }

    fn cpu_time(&self) -> Duration {
        Duration::ZERO
    }

    fn release(&mut self, trace: &Trace) {
        assert_eq!(1, trace.alive.swap(0, Ordering::Relaxed), "a value was released twice");
    }

    fn call_one_more(&mut self) {
        // Nobody listens any more when the run is over.
        let _ = self.calls.as_ref().map(|calls| calls.send(()));
    }
}

/// Edges from each task to earlier ones, and targets.
fn edges_and_targets() -> impl Strategy<Value = (Vec<Vec<u32>>, Vec<u32>)> {
    let raw = prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..12), 1..80);
    (raw, prop::collection::vec(any::<prop::sample::Index>(), 1..5)).prop_map(|(raw, targets)| {
        let n = raw.len();
        let earlier = |(index, picks): (usize, &Vec<prop::sample::Index>)| {
            picks.iter().filter(|_| index > 0).map(|pick| pick.index(index.max(1)) as u32).collect()
        };
        let edges = raw.iter().enumerate().map(earlier).collect();
        (edges, targets.iter().map(|pick| pick.index(n) as u32).collect())
    })
}

fn graph(edges: &[Vec<u32>], targets: &[u32]) -> Graph<Trace> {
    let mut builder = Builder::with_capacity(edges.len());
    for _ in edges {
        builder.add(Trace::default());
    }
    for (index, needs) in (0..).zip(edges) {
        builder.open(index);
        for &need in needs {
            builder.depends_on(need);
        }
    }
    builder.finish(targets).expect("edges go to earlier tasks only")
}

/// The tasks that a target needs.
fn needed(edges: &[Vec<u32>], targets: &[u32]) -> Vec<bool> {
    let mut needed = vec![false; edges.len()];
    let mut stack = targets.to_vec();
    while let Some(index) = stack.pop() {
        if !std::mem::replace(&mut needed[index as usize], true) {
            stack.extend(&edges[index as usize]);
        }
    }
    needed
}

fn check(graph: &Graph<Trace>, edges: &[Vec<u32>], targets: &[u32]) {
    for (index, (trace, is_needed)) in graph.payloads().zip(needed(edges, targets)).enumerate() {
        assert_eq!(usize::from(is_needed), trace.runs.load(Ordering::Relaxed), "runs of task {index}");
        let is_target = targets.contains(&(index as u32));
        assert_eq!(usize::from(is_target), trace.alive.load(Ordering::Relaxed), "value of task {index}");
    }
}

/// Runs a graph by its caller and, for each call, a helper.
fn run_shared(graph: Graph<Trace>, n_workers: usize) -> Run<Trace> {
    let run = Run::new(graph, n_workers, Policy::Adaptive);
    let order = Mutex::new(Vec::new());
    let (calls, called) = channel();
    std::thread::scope(|scope| {
        let (run, order) = (&run, &order);
        let hands = |calls: &Sender<()>| Recorder { order, calls: Some(calls.clone()) };
        let mut callers_hands = hands(&calls);
        scope.spawn(move || {
            while !run.is_over() {
                if called.recv_timeout(Duration::from_millis(1)).is_ok() {
                    let mut hands = hands(&calls);
                    scope.spawn(move || run.help(&mut hands));
                }
            }
        });
        let mut seat = run.caller();
        while !run.is_over() {
            run.work(&mut seat, &mut callers_hands);
            while !run.has_news() {
                run.wait(Duration::from_secs(60));
            }
        }
    });
    run
}

fn config() -> ProptestConfig {
    let cases = if std::env::var_os("FERRIS_LONG").is_some() { 20_000 } else { 200 };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn alone_each_needed_task_runs_once_and_values_live_as_long_as_needed((edges, targets) in edges_and_targets()) {
        let graph = graph(&edges, &targets);
        let order = Mutex::new(Vec::new());
        let completed = run_alone(&graph, &mut Recorder { order: &order, calls: None });
        prop_assert!(completed);
        check(&graph, &edges, &targets);
        prop_assert_eq!(graph.n_to_run(), order.into_inner().unwrap().len());
    }

    #[test]
    fn shared_each_needed_task_runs_once_and_values_live_as_long_as_needed(
        (edges, targets) in edges_and_targets(),
        n_workers in 1usize..5,
    ) {
        let run = run_shared(graph(&edges, &targets), n_workers);
        check(run.graph(), &edges, &targets);
    }
}
