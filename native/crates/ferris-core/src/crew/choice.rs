//! Which task is next.

use super::{Crew, Desk, Group, LOOKS_PER_STEP, NO_RESOURCES, Seat, State};
use crate::queue::{End, Nanos, Queue, Top};
use crate::sync::atomic::Ordering;

/// Which task a worker takes.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    pub room: u32,
    pub end: End,
    pub group: Group,
    is_stolen: bool,
    is_guest: bool,
}

impl Choice {
    fn plain(room: u32, end: End) -> Self {
        Self { room, end, group: NO_RESOURCES, is_stolen: false, is_guest: false }
    }
}

impl<T> Crew<T> {
    pub(super) fn pick(&self, state: &mut State<T>, seat: Seat) -> Option<(T, Group)> {
        let choice = self.choose(state, seat)?;
        self.totals.n_steals.fetch_add(u64::from(choice.is_stolen), Ordering::Relaxed);
        Some((Self::take_chosen(state, choice)?, choice.group))
    }

    pub(super) fn take_chosen(state: &mut State<T>, choice: Choice) -> Option<T> {
        state.is_guests_turn = !choice.is_guest;
        state.queue.pop(choice.room, choice.end)
    }

    pub(super) fn choose(&self, state: &mut State<T>, seat: Seat) -> Option<Choice> {
        if state.queue.is_empty() {
            return None;
        }
        if state.queue.has_levels() && !self.settings.aging.is_zero() {
            self.age(state);
        }
        let guest = state.queue.top(state.guests);
        if guest.is_none() && state.contests.len() == 1 && state.desks.is_empty() {
            return Some(Choice::plain(Queue::<T>::HALL, End::Oldest));
        }
        let best = self.best_room(state, seat);
        let is_first = |(guest, best): (Top, Top)| {
            guest.priority > best.priority || guest.priority == best.priority && state.is_guests_turn
        };
        match (guest, best) {
            (Some(guest), best) if best.is_none_or(|(best, _)| is_first((guest, best))) => {
                Some(Choice { is_guest: true, ..Choice::plain(state.guests, End::Oldest) })
            }
            (_, best) => best.map(|(_, choice)| choice),
        }
    }

    pub(super) fn age(&self, state: &mut State<T>) {
        let step = self.settings.aging.as_nanos() as Nanos;
        let time = self.time();
        if time >= state.next_look {
            state.queue.raise(time, step);
            state.next_look = time + (step / LOOKS_PER_STEP).max(1);
        }
    }

    /// The room with the task that goes first: by level, then own queues before others', unless others have waited for
    /// as long as it takes to count one level higher.
    pub(super) fn best_room(&self, state: &State<T>, seat: Seat) -> Option<(Top, Choice)> {
        let step = self.settings.aging.as_nanos() as Nanos;
        let is_late = |top: Option<Top>| {
            step > 0 && top.is_some_and(|top| self.time().saturating_sub(top.since) >= step)
        };
        let mut best: Option<(Top, Choice)> = None;
        let mut offer = |top: Option<Top>, choice, is_rival: bool| {
            if let Some(top) = top
                && best.is_none_or(|(old, _)| top.priority > old.priority || is_rival && top.is_before(old))
            {
                best = Some((top, choice));
            }
        };
        if let Some(own) = seat.0 {
            let Desk { dealt, made, .. } = state.desks[own];
            let top = state.queue.top(made);
            offer(top, Choice::plain(made, if is_late(top) { End::Oldest } else { End::Newest }), false);
            let top = state.queue.top(dealt);
            offer(top, Choice::plain(dealt, End::Oldest), is_late(top));
        }
        let hall = Queue::<T>::HALL;
        let top = state.queue.top(hall);
        offer(top, Choice::plain(hall, End::Oldest), is_late(top));
        for (group, top) in self.open_contests(state) {
            let room = state.contests[group as usize].room;
            offer(Some(top), Choice { group, ..Choice::plain(room, End::Oldest) }, true);
        }
        let is_own_empty = seat.0.is_none_or(|own| {
            let Desk { dealt, made, .. } = state.desks[own];
            state.queue.is_room_empty(dealt) && state.queue.is_room_empty(made)
        });
        for (index, desk) in state.desks.iter().enumerate().filter(|&(index, _)| Some(index) != seat.0) {
            for room in [desk.dealt, desk.made] {
                let is_stolen = state.desks[index].is_taken;
                let choice = Choice { is_stolen, ..Choice::plain(room, End::Oldest) };
                let top = state.queue.top(room);
                offer(top, choice, is_own_empty || is_late(top));
            }
        }
        best
    }

    /// The groups whose first task can start: what it needs is free, and no task before it waits for any of that.
    pub(super) fn open_contests(&self, state: &State<T>) -> Vec<(Group, Top)> {
        let mut tops: Vec<(Group, Top)> = (1..state.contests.len())
            .filter_map(|group| Some((group as Group, state.queue.top(state.contests[group].room)?)))
            .collect();
        tops.sort_by_key(|&(_, top)| (std::cmp::Reverse(top.priority), top.since));
        let mut wanted = vec![false; self.settings.capacity.len()];
        tops.retain(|&(group, _)| {
            let request = &state.contests[group as usize].request;
            let is_open = state.fits(request, &self.settings.capacity)
                && !request.iter().any(|&(index, _)| wanted[index]);
            if !is_open {
                for &(index, _) in request {
                    wanted[index] = true;
                }
            }
            is_open
        });
        tops
    }

    pub(super) fn take_amounts(state: &mut State<T>, group: Group) {
        let State { contests, used, .. } = state;
        contests[group as usize].n_running += 1;
        for &(index, amount) in &contests[group as usize].request {
            used[index] += amount;
        }
    }

    pub(super) fn give_back(state: &mut State<T>, group: Group) {
        let State { contests, used, .. } = state;
        contests[group as usize].n_running -= 1;
        for &(index, amount) in &contests[group as usize].request {
            used[index] = (used[index] - amount).max(0.0);
        }
        Self::recycle(state, group);
    }
}
