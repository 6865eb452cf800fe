//! A team of threads that work on one kernel after another and stay awake in between.
//!
//! A plan replays hundreds of short kernels. Waking a sleeping thread for each costs about as much as the kernel (8 us);
//! telling one that is awake costs 1 to 2 us (`cargo bench --bench hand_off`). So the members of a team spin from the first kernel of a replay to
//! its last, and sleep in rayon's pool between replays. Nothing here allocates.
//!
//! Members join when the pool has a thread for them, at any time or never: the leader hands parts only to those that have come and
//! does the rest itself, so a pool that is busy elsewhere delays nobody. What a part computes does not depend on who does it.

use std::cell::UnsafeCell;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};

/// Looks at a word of another thread (some 10 us) before the processor is offered to others between two looks: where threads outnumber
/// processors, the one that is waited for needs it.
const SPINS: u32 = 200;

/// A leader, and the seats of the members that may join it.
pub struct Team {
    size: usize,
    seats: [Seat; Team::MOST - 1],
    /// The work handed over; written by the leader while no member looks at it.
    job: UnsafeCell<Job>,
    /// Shares of the job that nobody has taken, as bits.
    left: AtomicU64,
    /// Whether a job is being worked on.
    busy: AtomicBool,
    /// Whether the leader has no more jobs.
    closed: AtomicBool,
    /// Whether a member panicked over its share.
    panicked: AtomicBool,
}

/// Where a member waits. Two cache lines, which processors fetch in pairs, so that no two members share one.
#[repr(align(128))]
struct Seat {
    taken: AtomicBool,
    /// Number of the last job that the member was called to, and of the last that it has left.
    called: AtomicU32,
    left: AtomicU32,
}

/// What a member does with each part.
type Work<'a> = dyn Fn(usize) + Sync + 'a;

#[derive(Clone, Copy)]
struct Job {
    work: *const Work<'static>,
    parts: usize,
    shares: usize,
}

// SAFETY: `job` is written by the thread that holds `busy`, before it calls members (`called`, release) and after all members of
// the job before have left (`left`, acquire); they read it in between. `work` is Sync, and outlives the job (see `for_each`).
// Everything else is atomic.
unsafe impl Sync for Team {}

impl Team {
    /// Most members, the leader among them: the shares of a job fit the bits of a word.
    pub const MOST: usize = 64;

    /// Runs `work` on this thread, leading a team of up to `threads` threads of the current rayon pool.
    pub fn lead<T: Send>(threads: usize, work: impl FnOnce(&Team) -> T + Send) -> T {
        let nothing: &Work<'static> = &|_| {};
        let seat = || Seat { taken: false.into(), called: 0.into(), left: 0.into() };
        let team = Team {
            size: threads.clamp(1, Team::MOST),
            seats: std::array::from_fn(|_| seat()),
            job: UnsafeCell::new(Job { work: nothing, parts: 0, shares: 0 }),
            left: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
        };
        if team.size == 1 {
            return work(&team);
        }
        let lead = || {
            let _close = Close(&team);
            work(&team)
        };
        rayon::join(lead, || team.seat(1, team.size)).0
    }

    /// Threads that may take part.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Calls `f(part)` once for every part, in no order, on the members that are there. Part i of as many parts as there are
    /// members goes to the same one every time, if it is there: what it reads stays in its cache. A call out of another is serial.
    pub fn for_each(&self, parts: usize, f: impl Fn(usize) + Sync) {
        if parts <= 1 || self.size == 1 || self.busy.swap(true, Acquire) {
            return (0..parts).for_each(f);
        }
        let shares = parts.min(Team::MOST);
        let f: &Work<'_> = &f;
        // SAFETY: only the lifetime changes. Members use it until they have left the job, which `Called` waits for.
        let work = unsafe { std::mem::transmute::<&Work<'_>, &'static Work<'static>>(f) };
        let job = Job { work, parts, shares };
        // SAFETY: no member reads it now, see `Sync`.
        unsafe { *self.job.get() = job };
        self.left.store(u64::MAX >> (64 - shares), Relaxed);
        let mut called = Called { team: self, seats: 0 };
        for (i, seat) in self.seats[..self.size - 1].iter().enumerate() {
            if seat.taken.load(Acquire) {
                seat.called.store(seat.called.load(Relaxed).wrapping_add(1), Release);
                called.seats |= 1 << i;
            }
        }
        self.work(job, 0);
        drop(called);
        assert!(!self.panicked.load(Relaxed), "a thread of the pool panicked over its part of a kernel");
    }

    /// Does what shares of a job it can get, those of member `member` first.
    fn work(&self, job: Job, member: usize) {
        // SAFETY: the closure lives until all that work on it have left.
        let f = unsafe { &*job.work };
        for share in (member..job.shares).step_by(self.size).chain(0..job.shares) {
            let bit = 1 << share;
            if self.left.load(Relaxed) & bit != 0 && self.left.fetch_and(!bit, Relaxed) & bit != 0 {
                let [first, end] = [share, share + 1].map(|s| s * job.parts / job.shares);
                (first..end).for_each(f);
            }
        }
    }

    /// Seats members `first..end`, each on a thread of the pool as it becomes free.
    fn seat(&self, first: usize, end: usize) {
        if end - first > 1 {
            let middle = first + (end - first) / 2;
            rayon::join(|| self.seat(first, middle), || self.seat(middle, end));
            return;
        }
        let seat = &self.seats[first - 1];
        let mut last = seat.called.load(Relaxed);
        seat.taken.store(true, Release);
        loop {
            until(|| seat.called.load(Acquire) != last || self.closed.load(Acquire));
            let called = seat.called.load(Acquire);
            if called == last {
                return;
            }
            last = called;
            let _leave = Leave { team: self, seat };
            // SAFETY: the leader called, and waits until this member has left.
            self.work(unsafe { *self.job.get() }, first);
        }
    }
}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Team").field("size", &self.size).finish_non_exhaustive()
    }
}

/// Looks until something is so.
fn until(so: impl Fn() -> bool) {
    let mut looks = 0;
    while !so() {
        if looks < SPINS {
            looks += 1;
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

/// The members that were called to a job; waits for them, whatever happens to the leader.
struct Called<'a> {
    team: &'a Team,
    seats: u64,
}

impl Drop for Called<'_> {
    fn drop(&mut self) {
        let mut seats = self.seats;
        while seats != 0 {
            let seat = &self.team.seats[seats.trailing_zeros() as usize];
            until(|| seat.left.load(Acquire) == seat.called.load(Relaxed));
            seats &= seats - 1;
        }
        self.team.busy.store(false, Release);
    }
}

/// Says that a member has left a job, whatever happens to it.
struct Leave<'a> {
    team: &'a Team,
    seat: &'a Seat,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.team.panicked.store(true, Relaxed);
            self.seat.taken.store(false, Relaxed);
        }
        self.seat.left.store(self.seat.called.load(Relaxed), Release);
    }
}

/// Sends the members away, whatever happens to the leader.
struct Close<'a>(&'a Team);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.closed.store(true, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start")
    }

    /// Every part once, whatever the numbers of parts, of members and of threads that the pool has for them.
    #[test]
    fn every_part_is_done_once() {
        for (threads, size) in [(1, 1), (1, 4), (2, 2), (3, 2), (4, 4), (4, 9), (8, 100)] {
            pool(threads).install(|| {
                Team::lead(size, |team| {
                    assert_eq!(team.size(), size.min(Team::MOST));
                    for parts in (0..10).chain([63, 64, 65, 1000]).cycle().take(500) {
                        let done: Vec<AtomicUsize> = (0..parts).map(|_| 0.into()).collect();
                        team.for_each(parts, |part| {
                            done[part].fetch_add(1, Relaxed);
                        });
                        assert!(done.iter().all(|n| n.load(Relaxed) == 1), "{threads} {size} {parts}");
                    }
                });
            });
        }
    }

    /// What members wrote is seen after the call, without anything atomic.
    #[test]
    fn results_are_seen() {
        pool(4).install(|| {
            Team::lead(4, |team| {
                let mut sums = [0usize; 13];
                for round in 0..2_000 {
                    let cells = sums.each_mut().map(|s| std::sync::Mutex::new(Some(s)));
                    team.for_each(cells.len(), |i| {
                        let sum = cells[i].lock().ok().and_then(|mut s| s.take());
                        *sum.expect("every part is done once") += round * i;
                    });
                }
                sums.iter().enumerate().for_each(|(i, s)| assert_eq!(*s, i * 1999 * 1000));
            });
        });
    }

    /// A call out of a part is serial, and so is one from another thread meanwhile.
    #[test]
    fn calls_nest() {
        pool(2).install(|| {
            Team::lead(2, |team| {
                let count = AtomicUsize::new(0);
                team.for_each(8, |_| {
                    team.for_each(5, |_| {
                        count.fetch_add(1, Relaxed);
                    });
                });
                assert_eq!(count.load(Relaxed), 40);
            });
        });
    }

    /// A panic, of the leader or of a member, reaches the caller; nobody waits for ever.
    #[test]
    fn panics_come_through() {
        let pool = pool(3);
        for bad in [0, 1, 2, 63] {
            let run = || {
                pool.install(|| Team::lead(3, |team| team.for_each(64, |i| assert_ne!(i, bad, "on purpose"))))
            };
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
        }
        pool.install(|| Team::lead(3, |team| team.for_each(3, |_| {})));
    }

    /// Results come back, and several teams share one pool.
    #[test]
    fn teams_share_a_pool() {
        let pool = pool(2);
        std::thread::scope(|scope| {
            let lead = |n: usize| {
                let count = AtomicUsize::new(0);
                let back = pool.install(|| {
                    Team::lead(2, |team| {
                        let one = |_| {
                            count.fetch_add(1, Relaxed);
                        };
                        (0..300).for_each(|_| team.for_each(7, one));
                        n
                    })
                });
                (back, count.into_inner())
            };
            let threads: Vec<_> = (0..6).map(|n| scope.spawn(move || lead(n))).collect();
            for (n, thread) in threads.into_iter().enumerate() {
                assert_eq!(thread.join().expect("no panic"), (n, 2100));
            }
        });
    }
}
