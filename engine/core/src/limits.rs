//! Every limit, with its unit and its reason. A runbook beyond one is refused with its name.

/// Steps in a plan, `for_each` items included and those of an undo not: what a page can still draw and a
/// person can still oversee by search, and ten times the largest plan we have been shown.
pub const STEPS_MAX: usize = 10_000;
/// Bytes of a runbook file: 10,000 steps of 400 bytes.
pub const RUNBOOK_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of one event, the plan's included: it is held in memory whole, and one write.
pub const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of one step's output that later steps may use: an output is data, not a log.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of captured text that one effect may leave: two days of a chatty command.
pub const CAPTURE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Levels of lists and maps in a runbook: deeper is a mistake, and recursion must end.
pub const NESTING_MAX: usize = 64;
/// Needs of one step: a step that waits for a thousand others names a join step instead.
pub const NEEDS_MAX: usize = 1_000;
/// Steps at work at once when the runbook does not say.
pub const MAX_PARALLEL_DEFAULT: u32 = 64;
/// Steps at work at once at the most.
pub const MAX_PARALLEL_MAX: u32 = 1_000;
/// Sendings of one step's effects: beyond, no retry helps.
pub const RETRY_MAX: u32 = 1_000;
/// Times that a lost reply has the same key sent again where `retry` allows fewer, as it does unless
/// the runbook says so: the target itself makes the repeat harmless, and a reply that the network lost
/// should not wake a person.
pub const KEYED_RESENDS_MIN: u32 = 3;
/// Bytes of a person's reason or note: a paragraph, not a report.
pub const REASON_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a person's name or a channel's: an address fits.
pub const NAME_BYTES_MAX: usize = 256;
/// Bytes of a piece of evidence that a person attaches.
pub const EVIDENCE_BYTES_MAX: usize = 256 * 1024;
/// Characters of an id or a parameter's name: it must fit a column.
pub const ID_CHARS_MAX: usize = 64;
/// Bytes of one expression.
pub const EXPRESSION_BYTES_MAX: usize = 4 * 1024;
/// Milliseconds of any duration: a year. A rollback that waits longer is forgotten.
pub const DURATION_MS_MAX: u64 = 366 * 24 * 3_600 * 1_000;
/// Milliseconds that a run may stand still and still go on without being named.
pub const STALE_AFTER_MS_DEFAULT: u64 = 3_600 * 1_000;
/// Milliseconds that one verb of a step may take when the runbook does not say.
pub const TIMEOUT_MS_DEFAULT: u64 = 10 * 60 * 1_000;
