//! What one worker measures of its own tasks.

use std::time::{Duration, Instant};

/// Between two looks at the processor time, which is a call into the kernel.
const BETWEEN_READINGS: Duration = Duration::from_millis(1);

/// What a worker has done since its last reading.
#[derive(Clone, Copy)]
pub struct Reading {
    pub since: Instant,
    pub passed: Duration,
    pub computed: Duration,
}

/// The clocks of one worker.
#[derive(Default)]
pub struct Meter {
    last_end: Option<Instant>,
    last_reading: Option<(Instant, Duration)>,
}

impl Meter {
    /// The time since the task before this one ended, if there was one.
    pub(super) fn lap(&mut self, now: Instant) -> Option<Duration> {
        self.last_end.replace(now).map(|before| now - before)
    }

    /// From time to time, a reading; `cpu_time` is the processor time that this thread has used.
    pub(super) fn read(&mut self, now: Instant, cpu_time: impl FnOnce() -> Duration) -> Option<Reading> {
        if self.last_reading.is_some_and(|(before, _)| now - before < BETWEEN_READINGS) {
            return None;
        }
        let cpu = cpu_time();
        let (before, cpu_before) = self.last_reading.replace((now, cpu))?;
        Some(Reading { since: before, passed: now - before, computed: cpu.saturating_sub(cpu_before) })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_lap_is_the_time_between_two_ends() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        assert_eq!(None, meter.lap(start));
        assert_eq!(Some(BETWEEN_READINGS), meter.lap(start + BETWEEN_READINGS));
    }

    #[test]
    fn clocks_are_read_from_time_to_time() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        assert!(meter.read(start, || BETWEEN_READINGS).is_none(), "there is nothing to compare with");
        assert!(meter.read(start, || unreachable!("too early")).is_none());
        let reading = meter.read(start + 4 * BETWEEN_READINGS, || 2 * BETWEEN_READINGS).unwrap();
        assert_eq!((4 * BETWEEN_READINGS, BETWEEN_READINGS), (reading.passed, reading.computed));
    }
}
