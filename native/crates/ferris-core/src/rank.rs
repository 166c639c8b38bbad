//! The order in which a depth-first worker takes tasks.
//!
//! Two depth-first walks from the targets, linear in time and memory.  The first finds how many values must be
//! alive at once to compute each task (the register need of Sethi and Ullman, "The generation of optimal code
//! for arithmetic expressions", J. ACM 17(4), 1970, here for graphs) and sorts the dependencies of each task,
//! the neediest first.  The second lists the tasks in post-order, so that a dependency and all it needs come
//! before the next one is begun: few values are alive at a time.

use crate::graph::{Fault, Task};

/// States of a task in the first walk; else the number of dependencies already followed, plus [`BEGUN`].
const UNSEEN: u32 = 0;
const DONE: u32 = u32::MAX;
const BEGUN: u32 = 1;

/// Every task the targets need, each after its dependencies; sorts `dependencies` on the way.
pub(crate) fn depth_first<P>(
    tasks: &[Task<P>],
    dependencies: &mut [u32],
    targets: &[u32],
) -> Result<Vec<u32>, Fault> {
    let post_order = walk(tasks, dependencies, targets)?;
    if sort_by_need(tasks, dependencies, &post_order) {
        walk(tasks, dependencies, targets)
    } else {
        Ok(post_order) // the second walk would take the same path
    }
}

/// The needed tasks in post-order of a depth-first walk that follows dependencies in the order listed.
fn walk<P>(tasks: &[Task<P>], dependencies: &[u32], targets: &[u32]) -> Result<Vec<u32>, Fault> {
    let mut state = vec![UNSEEN; tasks.len()];
    let mut post_order = Vec::with_capacity(tasks.len());
    let mut path = Vec::with_capacity(64);
    for &target in targets {
        if state[target as usize] == UNSEEN {
            state[target as usize] = BEGUN;
            path.push(target);
        }
        while let Some(&index) = path.last() {
            let task = &tasks[index as usize];
            if task.is_unresolved() {
                return Err(Fault::Unresolved(index));
            }
            let followed = (state[index as usize] - BEGUN) as usize;
            let Some(&next) = dependencies[task.dependencies()].get(followed) else {
                state[index as usize] = DONE;
                post_order.push(index);
                path.pop();
                continue;
            };
            state[index as usize] += 1;
            match state[next as usize] {
                UNSEEN => {
                    state[next as usize] = BEGUN;
                    path.push(next);
                }
                DONE => {}
                _ => return Err(cycle(&path, next)),
            }
        }
    }
    Ok(post_order)
}

/// The end of `path` that begins with `first`.
fn cycle(path: &[u32], first: u32) -> Fault {
    let start = path.iter().position(|&index| index == first).unwrap_or(0);
    Fault::Cycle(path[start..].to_vec())
}

/// Sorts the dependencies of each task by falling need, and says whether any changed place; the sort is stable.
fn sort_by_need<P>(tasks: &[Task<P>], dependencies: &mut [u32], post_order: &[u32]) -> bool {
    let mut need = vec![0u32; tasks.len()];
    let mut changed = false;
    for &index in post_order {
        let range = tasks[index as usize].dependencies();
        let inputs = &mut dependencies[range];
        let falling = |&input: &u32| std::cmp::Reverse(need[input as usize]);
        if !inputs.is_sorted_by_key(falling) {
            inputs.sort_by_key(falling);
            changed = true;
        }
        // While the k-th input is computed, the k before it are alive.
        let most = inputs.iter().zip(0..).map(|(&input, k)| need[input as usize] + k).max();
        need[index as usize] = most.unwrap_or(0).max(1);
    }
    changed
}
