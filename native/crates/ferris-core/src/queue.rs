//! Tasks that wait for a worker: by priority, first in, first out within a level.
//!
//! A queue has rooms, each with levels of its own, so that tasks which compete for a resource, or belong to one
//! worker, can be passed over as a whole.  Entries are linked by index in one array: any of them can be taken out in
//! constant time, which a worker that helps itself to the task it waits for does.  In every list entries are in order
//! of their time.

use std::collections::BTreeMap;

/// Higher is first.
///
/// The unevaluated sum of two floats (Dekker, 1971), so that integers of up to 106 bits are told apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Priority {
    high: f64,
    low: f64,
}

impl Priority {
    /// What a task has that asks for none.
    pub const NORMAL: Self = Self { high: 1.0, low: 0.0 };

    /// What goes before every task.
    pub const FIRST: Self = Self { high: f64::INFINITY, low: 0.0 };

    /// `high + low`, where `high` is the float that is nearest to the sum.
    pub fn new(high: f64, low: f64) -> Self {
        Self { high: high + 0.0, low: low + 0.0 } // -0.0 becomes 0.0
    }

    /// So many levels up, but not above `top`, unless it is there already.
    #[must_use]
    pub fn raised_to(self, n_levels: u64, top: Self) -> Self {
        let mut priority = self;
        for _ in 0..n_levels {
            if priority >= top {
                break;
            }
            priority = priority.raised();
        }
        priority
    }

    /// One level up.
    fn raised(self) -> Self {
        let sum = self.high + 1.0;
        let rest = self.low + (1.0 - (sum - self.high));
        let high = sum + rest;
        Self::new(high, rest - (high - sum))
    }
}

impl Eq for Priority {}

impl PartialOrd for Priority {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Priority {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.high.total_cmp(&other.high).then(self.low.total_cmp(&other.low))
    }
}

/// Nanoseconds since some moment.
pub type Nanos = u64;

/// Where an entry is, for [`Queue::remove`]; a place is never used for two entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    index: u32,
    generation: u32,
}

impl Place {
    /// Where no entry is.
    pub const NOWHERE: Self = Self { index: NONE, generation: 0 };

    /// As one word.
    pub fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// From [`Place::to_bits`].
    pub fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32 }
    }
}

const NONE: u32 = u32::MAX;

struct Entry<T> {
    item: Option<T>,
    since: Nanos,
    /// How many levels it has risen.
    n_raised: Nanos,
    priority: Priority,
    room: u32,
    previous: u32,
    /// The next in the list, or the next that is free.
    next: u32,
    generation: u32,
}

/// The two ends of a list of entries.
#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
}

impl List {
    const EMPTY: Self = Self { head: NONE, tail: NONE };

    fn is_empty(self) -> bool {
        self.head == NONE
    }
}

/// The levels of one room; the normal one apart, because most tasks are there.
struct Room {
    normal: List,
    others: BTreeMap<Priority, List>,
    len: usize,
}

impl Room {
    fn top(&self) -> Option<(Priority, List)> {
        let other = self.others.last_key_value().map(|(&priority, &list)| (priority, list));
        match other {
            Some((priority, _)) if priority > Priority::NORMAL || self.normal.is_empty() => other,
            _ => (!self.normal.is_empty()).then_some((Priority::NORMAL, self.normal)),
        }
    }

    fn list(&self, priority: Priority) -> List {
        if priority == Priority::NORMAL {
            return self.normal;
        }
        self.others.get(&priority).copied().unwrap_or(List::EMPTY)
    }

    fn set_list(&mut self, priority: Priority, list: List) {
        if priority == Priority::NORMAL {
            self.normal = list;
        } else if list.is_empty() {
            self.others.remove(&priority);
        } else {
            self.others.insert(priority, list);
        }
    }
}

/// Which end of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The entry that has waited longest.
    Oldest,
    /// The one that has come last.
    Newest,
}

/// What is first in a room: compare to see which room goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Top {
    /// Its level.
    pub priority: Priority,
    /// Since when the oldest of the level has waited.
    pub since: Nanos,
}

impl Top {
    /// True when this goes before `other`.
    pub fn is_before(self, other: Self) -> bool {
        self.priority > other.priority || self.priority == other.priority && self.since < other.since
    }
}

/// Tasks that wait.
pub struct Queue<T> {
    entries: Vec<Entry<T>>,
    free: u32,
    rooms: Vec<Room>,
    len: usize,
    /// Of them, those that are not at the normal level.
    n_off_normal: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let mut queue = Self { entries: Vec::new(), free: NONE, rooms: Vec::new(), len: 0, n_off_normal: 0 };
        queue.add_room();
        queue
    }
}

impl<T> Queue<T> {
    /// The room that every queue has.
    pub const HALL: u32 = 0;

    /// One more room.
    pub fn add_room(&mut self) -> u32 {
        self.rooms.push(Room { normal: List::EMPTY, others: BTreeMap::new(), len: 0 });
        self.rooms.len() as u32 - 1
    }

    /// How many tasks wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when none waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True when some wait at another level than the normal one.
    pub fn has_levels(&self) -> bool {
        self.n_off_normal > 0
    }

    /// True when none waits in this room.
    pub fn is_room_empty(&self, room: u32) -> bool {
        self.rooms[room as usize].len == 0
    }

    /// Adds a task; `now` is not before the time of any other in the queue.
    pub fn push(&mut self, room: u32, priority: Priority, now: Nanos, item: T) -> Place {
        let index = self.take_free();
        let entry = &mut self.entries[index as usize];
        (entry.item, entry.since, entry.n_raised) = (Some(item), now, 0);
        (entry.priority, entry.room) = (priority, room);
        let place = Place { index, generation: entry.generation };
        let before = self.rooms[room as usize].list(priority).tail;
        self.link(index, before);
        self.rooms[room as usize].len += 1;
        self.len += 1;
        self.n_off_normal += usize::from(priority != Priority::NORMAL);
        place
    }

    /// What is first in a room.
    pub fn top(&self, room: u32) -> Option<Top> {
        let (priority, list) = self.rooms[room as usize].top()?;
        Some(Top { priority, since: self.entries[list.head as usize].since })
    }

    /// The highest level at which a task waits.
    pub fn highest(&self) -> Option<Priority> {
        let tops = (0..self.rooms.len() as u32).filter_map(|room| self.top(room));
        tops.map(|top| top.priority).max()
    }

    /// Takes a task from the highest level of a room.
    pub fn pop(&mut self, room: u32, end: End) -> Option<T> {
        let (_, list) = self.rooms[room as usize].top()?;
        self.take(if end == End::Oldest { list.head } else { list.tail })
    }

    /// The task that [`Queue::pop`] would take.
    pub fn peek(&self, room: u32, end: End) -> Option<&T> {
        let (_, list) = self.rooms[room as usize].top()?;
        let index = if end == End::Oldest { list.head } else { list.tail };
        self.entries[index as usize].item.as_ref()
    }

    /// Takes the task at a place, unless it is gone.
    pub fn remove(&mut self, place: Place) -> Option<T> {
        let entry = self.entries.get(place.index as usize)?;
        if entry.generation == place.generation { self.take(place.index) } else { None }
    }

    /// Takes the tasks of a room that are meant.
    pub fn remove_from(&mut self, room: u32, is_meant: impl Fn(&T) -> bool) -> Vec<T> {
        let Room { normal, others, .. } = &self.rooms[room as usize];
        let mut meant = Vec::new();
        for list in others.values().chain([normal]) {
            let mut next = list.head;
            while next != NONE {
                let entry = &self.entries[next as usize];
                if entry.item.as_ref().is_some_and(&is_meant) {
                    meant.push(next);
                }
                next = entry.next;
            }
        }
        meant.into_iter().filter_map(|index| self.take(index)).collect()
    }

    /// Takes every task.
    pub fn drain(&mut self) -> Vec<T> {
        let mut all = Vec::with_capacity(self.len);
        for room in 0..self.rooms.len() as u32 {
            while let Some(item) = self.pop(room, End::Oldest) {
                all.push(item);
            }
        }
        all
    }

    /// Lets each task that has waited for `step` or longer, at its level, count one level higher, at most as high as any
    /// other: to rise past the highest would make no difference.
    pub fn raise(&mut self, now: Nanos, step: Nanos) {
        let Some(top) = self.highest() else { return };
        for room in 0..self.rooms.len() {
            // From the top, so that no task rises twice.
            let levels: Vec<Priority> = self.rooms[room].others.keys().rev().copied().collect();
            let is_higher = |level: &&Priority| **level > Priority::NORMAL;
            let n_higher = levels.iter().take_while(is_higher).count();
            let (higher, lower) = levels.split_at(n_higher);
            for &level in higher.iter().chain(&[Priority::NORMAL]).chain(lower) {
                self.raise_level(room, level, top, now, step);
            }
        }
    }

    fn raise_level(&mut self, room: usize, level: Priority, top: Priority, now: Nanos, step: Nanos) {
        let mut next = self.rooms[room].list(level).head;
        let mut last = (level, NONE);
        while next != NONE && level < top {
            let index = next;
            let entry = &self.entries[index as usize];
            let n_steps = now.saturating_sub(entry.since) / step;
            if n_steps == 0 {
                return; // and all that follow have waited for less
            }
            next = entry.next;
            if n_steps > entry.n_raised {
                last = self.raise_entry(index, n_steps, top, last);
            }
        }
    }

    /// Moves an entry as many levels up as it has waited steps, at most to `top`; its level and itself.
    ///
    /// `last` is the entry that rose before, which is older.
    fn raise_entry(
        &mut self,
        index: u32,
        n_steps: u64,
        top: Priority,
        last: (Priority, u32),
    ) -> (Priority, u32) {
        self.unlink(index);
        let entry = &mut self.entries[index as usize];
        self.n_off_normal -= usize::from(entry.priority != Priority::NORMAL);
        while entry.n_raised < n_steps && entry.priority < top {
            entry.priority = entry.priority.raised();
            entry.n_raised += 1;
        }
        self.n_off_normal += usize::from(entry.priority != Priority::NORMAL);
        let Entry { room, priority, since, .. } = *entry;
        let from = if last.0 == priority { last.1 } else { NONE };
        let before = self.last_not_after(room as usize, priority, from, since);
        self.link(index, before);
        (priority, index)
    }

    /// The last entry of a level whose time is not after `since`, looked for from `from` on.
    fn last_not_after(&self, room: usize, level: Priority, from: u32, since: Nanos) -> u32 {
        let mut last = from;
        let mut next =
            if last == NONE { self.rooms[room].list(level).head } else { self.entries[last as usize].next };
        while next != NONE && self.entries[next as usize].since <= since {
            (last, next) = (next, self.entries[next as usize].next);
        }
        last
    }

    fn take_free(&mut self) -> u32 {
        let index = self.free;
        if index == NONE {
            let index = u32::try_from(self.entries.len()).ok().filter(|&index| index != NONE);
            let index = index.expect("no more than four thousand million tasks wait");
            self.entries.push(Entry {
                item: None,
                since: 0,
                n_raised: 0,
                priority: Priority::NORMAL,
                room: 0,
                previous: NONE,
                next: NONE,
                generation: 0,
            });
            return index;
        }
        self.free = self.entries[index as usize].next;
        index
    }

    fn take(&mut self, index: u32) -> Option<T> {
        self.entries[index as usize].item.as_ref()?;
        self.unlink(index);
        let entry = &mut self.entries[index as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.next = self.free;
        self.free = index;
        self.rooms[entry.room as usize].len -= 1;
        self.len -= 1;
        self.n_off_normal -= usize::from(entry.priority != Priority::NORMAL);
        entry.item.take()
    }

    /// Puts an entry into the list of its room and priority, after `before`, or at the head.
    fn link(&mut self, index: u32, before: u32) {
        let Entry { room, priority, .. } = self.entries[index as usize];
        let mut list = self.rooms[room as usize].list(priority);
        let after = if before == NONE { list.head } else { self.entries[before as usize].next };
        self.connect(&mut list, before, index);
        self.connect(&mut list, index, after);
        self.rooms[room as usize].set_list(priority, list);
    }

    /// Makes two entries neighbours; where one is none, the other is an end of the list.
    fn connect(&mut self, list: &mut List, left: u32, right: u32) {
        let next = if left == NONE { &mut list.head } else { &mut self.entries[left as usize].next };
        *next = right;
        let previous =
            if right == NONE { &mut list.tail } else { &mut self.entries[right as usize].previous };
        *previous = left;
    }

    fn unlink(&mut self, index: u32) {
        let Entry { room, priority, previous, next, .. } = self.entries[index as usize];
        let mut list = self.rooms[room as usize].list(priority);
        self.connect(&mut list, previous, next);
        self.rooms[room as usize].set_list(priority, list);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const LOW: Priority = Priority { high: 0.0, low: 0.0 };
    const HIGH: Priority = Priority { high: 2.0, low: 0.0 };
    const HALL: u32 = Queue::<u32>::HALL;

    fn order<T>(queue: &mut Queue<T>) -> Vec<T> {
        std::iter::from_fn(|| queue.pop(HALL, End::Oldest)).collect()
    }

    #[test]
    fn the_highest_level_is_first_and_within_it_the_oldest() {
        let mut queue = Queue::default();
        for (time, priority) in (0..).zip([LOW, Priority::NORMAL, HIGH, Priority::NORMAL, HIGH]) {
            queue.push(HALL, priority, time, time);
        }
        assert_eq!(vec![2, 4, 1, 3, 0], order(&mut queue));
        assert!(queue.is_empty());
    }

    #[test]
    fn any_task_can_be_taken_out_once() {
        let mut queue = Queue::default();
        let places: Vec<_> =
            (0..5).map(|item| queue.push(HALL, Priority::NORMAL, item as Nanos, item)).collect();
        assert_eq!(Some(2), queue.remove(places[2]));
        assert_eq!(None, queue.remove(places[2]));
        let again = queue.push(HALL, Priority::NORMAL, 9, 9);
        assert_eq!(None, queue.remove(places[2]), "its place has another generation");
        assert_eq!(Some(0), queue.remove(places[0]));
        assert_eq!(Some(9), queue.remove(again));
        assert_eq!(vec![1, 3, 4], order(&mut queue));
    }

    #[test]
    fn who_has_waited_a_step_counts_one_level_higher_and_is_before_those_who_came_later() {
        let mut queue = Queue::default();
        queue.push(HALL, LOW, 0, "low, old");
        queue.push(HALL, Priority::NORMAL, 5, "normal");
        queue.push(HALL, LOW, 8, "low, new");
        queue.push(HALL, HIGH, 9, "high");
        queue.raise(10, 10);
        queue.raise(14, 10);
        assert_eq!(vec!["high", "low, old", "normal", "low, new"], order(&mut queue));
    }

    #[test]
    fn who_has_waited_several_steps_rises_several_levels() {
        let mut queue = Queue::default();
        queue.push(HALL, LOW, 0, "low, old");
        queue.push(HALL, HIGH, 95, "high");
        queue.raise(100, 10);
        assert_eq!(vec!["low, old", "high"], order(&mut queue));
    }

    #[test]
    fn nobody_rises_past_the_highest_level_by_itself() {
        let mut queue = Queue::default();
        queue.push(HALL, LOW, 0, 0);
        queue.raise(1000, 10);
        assert_eq!(Some(LOW), queue.top(HALL).map(|top| top.priority));
    }

    #[test]
    fn a_task_rises_to_the_level_of_other_rooms() {
        let mut queue = Queue::default();
        let room = queue.add_room();
        queue.push(HALL, LOW, 0, 0);
        queue.push(room, Priority::NORMAL, 5, 1);
        queue.raise(10, 10);
        assert_eq!(Some(Top { priority: Priority::NORMAL, since: 0 }), queue.top(HALL));
    }

    #[test]
    fn large_integers_are_told_apart() {
        let big = 9_007_199_254_740_992.0; // 2 to the 53rd
        assert!(Priority::new(big, 1.0) > Priority::new(big, 0.0));
        assert!(Priority::new(big, 0.0).raised() == Priority::new(big, 1.0));
        assert!(LOW.raised() == Priority::NORMAL);
    }

    #[test]
    fn rooms_have_levels_of_their_own() {
        let mut queue = Queue::default();
        let room = queue.add_room();
        queue.push(HALL, HIGH, 0, 0);
        queue.push(room, LOW, 1, 1);
        assert_eq!(Some(1), queue.pop(room, End::Newest));
        assert!(queue.is_room_empty(room));
        assert_eq!(1, queue.len());
        assert_eq!(vec![0], queue.drain());
    }
}
