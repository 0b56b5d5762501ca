//! Figures that were fitted by measurement, in one place, each with what it was measured on. Constants alone; nothing
//! here decides. Bounds of memory and limits of the protocol stand with the code that keeps them.
//!
//! All were set with `cargo bench --bench scenarios` on two processors and a disk that commits in 0.4 to 3 ms. What follows
//! from the machine itself is measured while running instead: how long a commit takes (`storage/write/batching.rs`), how
//! fast an endpoint responds (`delivery/schedule/window.rs`), and how much a receiver takes (`delivery/schedule/limits.rs`).

/// When the writer commits; used by `storage/write/batching.rs`.
pub mod commit {
    use std::time::Duration;

    /// The commit delay of deliveries that arrived. Rows: 1 and 10 endpoints. Longer delays made no larger commits.
    pub const DELIVERED_DELAY: Duration = Duration::from_millis(5);
    /// So many of them are committed before the delay is over. Rows: 1 and 10 endpoints.
    pub const DELIVERED_ENOUGH: usize = 32;
    /// The commit delay of failed attempts. Each costs more pages than one that arrived, and nothing depends on it before
    /// the next attempt. Row: 50 healthy and 50 that answer 500.
    pub const FAILED_DELAY: Duration = Duration::from_millis(250);
    /// Fewer failed attempts in a commit are not worth their pages. Row: 50 healthy and 50 that answer 500.
    pub const FAILED_MIN: usize = 16;
    /// By what part of a commit without failed attempts one with them may be longer. Rows: 50 that answer 500, slow disk.
    pub const FAILED_SLOWDOWN_DIVISOR: u32 = 4;
    /// How often a commit without failed attempts is measured, however many of them wait.
    pub const MEASURE_EVERY: Duration = Duration::from_secs(1);
    /// A commit for so many callers takes all delivered outcomes along: it is no quick one anyway, and publishing must
    /// not outrun delivering. Row: 10 endpoints, 128 connections.
    pub const CALLERS_OF_A_LARGE_COMMIT: usize = 8;
    /// While callers keep coming, so many outcomes of replayed deliveries go with one commit, about as many as a replay's
    /// step makes due. Row: 1 live endpoint beside a replay.
    pub const REPLAYED_BESIDE_CALLERS: usize = 8;
    /// While more deliveries than this were never attempted, the writer pauses after a large commit for as long as it
    /// took, at most [`DELIVERED_DELAY`]. Row: 10 endpoints, 128 connections.
    pub const UNATTEMPTED_MAX: u64 = 8192;
}

/// Which delivery is next; used by `delivery/schedule/`.
pub mod schedule {
    use std::time::Duration;

    /// Uncommitted outcomes before backlogged lanes yield: a commit of this size takes hardly longer than one of a single
    /// event. Row: 1 healthy beside one catching up.
    pub const UNCOMMITTED_MAX: i64 = 20;
    /// The same for failed outcomes, which are delayed longer.
    pub const UNCOMMITTED_FAILURES_MAX: i64 = 64;
    /// How long after its last job other lanes yield to a caught-up lane. Row: 1 healthy beside one catching up.
    pub const YIELD_FOR: Duration = Duration::from_secs(1);
    /// With more events than this per commit, commits are large anyway and yielding gains nothing.
    pub const SMALL_COMMIT_EVENTS: u64 = 8;

    /// One of this many jobs goes to the priority classes in turn; the others go to the best class. Row: 50 healthy and
    /// 50 that answer 500.
    pub const ROUND_ROBIN_EVERY: usize = 4;
    /// The part of the threads that lanes with attempts in flight leave free for idle lanes. Row: 50 healthy and 50
    /// hanging.
    pub const SPARED_BY_ACTIVE: usize = 4;
    /// The part that failing endpoints leave free: they respond quickly, so they may use nearly all.
    pub const SPARED_BY_FAILING: usize = 16;
    /// The part that new, slow and unresponsive endpoints together leave free: each may turn out to hold its thread.
    pub const SPARED_BY_UNPROVEN: usize = 8;
    /// The part that slow and unresponsive endpoints together leave free. Row: 1 healthy and 20 hanging.
    pub const SPARED_BY_SLOW: usize = 4;
    /// The part of the threads that unresponsive endpoints may use at most. Row: 1 healthy and 20 hanging.
    pub const SUSPECT_PART: usize = 4;

    /// An endpoint that takes longer than this to respond is slow.
    pub const SLOW_RESPONSE: Duration = Duration::from_secs(1);
    /// The wait after an unresponsive attempt, doubled each time up to [`SUSPECT_WAIT_MAX`]. It delays the backlog of a
    /// dead endpoint only, and frees a thread for others.
    pub const SUSPECT_WAIT_MIN: Duration = Duration::from_millis(20);
    /// Its maximum.
    pub const SUSPECT_WAIT_MAX: Duration = Duration::from_millis(500);

    /// The window of one endpoint is sized for this rate at its shortest response time: more than single publishes reach
    /// with two processors at full speed. Row: 1 endpoint, 128 connections.
    pub const RESPONSES_PER_SECOND: u128 = 32_000;
    /// The smallest useful window, so that the processors have work while responses are pending. Row: 1 endpoint.
    pub const WINDOW_MIN: usize = 4;
    /// An endpoint whose average is much longer than its shortest time gets a window for at least this part of
    /// [`RESPONSES_PER_SECOND`], if its cap allows.
    pub const AVERAGE_DIVISOR: u32 = 8;
    /// The weight of the earlier responses in the average.
    pub const AVERAGE_WEIGHT: u32 = 16;
    /// How slowly the shortest time follows the average.
    pub const SHORTEST_WEIGHT: u32 = 256;
}
