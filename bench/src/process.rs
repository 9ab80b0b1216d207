//! What this process has used, as Linux counts it in /proc.

use std::time::Duration;

use crate::{Error, Result};

/// Clock ticks per second in /proc/self/stat: 100 on every Linux that runs Rust's standard library.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time of all threads so far.
pub(crate) fn cpu_time() -> Result<Duration> {
    Ok(cpu_time_of(&read("/proc/self/stat")?))
}

/// CPU time so far of the living threads whose names begin with one of these; the kernel keeps 15 bytes of a name.
pub(crate) fn cpu_time_of_threads(names: &[&str]) -> Result<Duration> {
    let tasks = std::fs::read_dir("/proc/self/task").map_err(Error::io("/proc/self/task"))?;
    let mut sum = Duration::ZERO;
    for task in tasks {
        let path = task.map_err(Error::io("/proc/self/task"))?.path();
        // A thread may have ended since.
        let (Ok(name), Ok(stat)) =
            (std::fs::read_to_string(path.join("comm")), std::fs::read_to_string(path.join("stat")))
        else {
            continue;
        };
        if names.iter().any(|wanted| name.starts_with(wanted)) {
            sum += cpu_time_of(&stat);
        }
    }
    Ok(sum)
}

fn cpu_time_of(stat: &str) -> Duration {
    // The command's name, in parentheses, may contain anything; fields are counted behind it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 1000 / TICKS_PER_SECOND)
}

/// The resident size now, in bytes.
pub(crate) fn memory() -> Result<u64> {
    let status = read("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(kib.unwrap_or(0) * 1024)
}

/// CPU time of the threads that run now, to the nanosecond as the scheduler counts it; what a thread used that has ended is not in it.
pub(crate) fn thread_time() -> Result<Duration> {
    let tasks = std::fs::read_dir("/proc/self/task").map_err(Error::io("/proc/self/task"))?;
    // A thread may end while it is looked at.
    let spent = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    let nanoseconds = spent.filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    Ok(Duration::from_nanos(nanoseconds.sum()))
}

/// The largest resident size since [`reset_peak`], in bytes.
pub(crate) fn peak_memory() -> Result<u64> {
    let status = read("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    Ok(kib.unwrap_or(0) * 1024)
}

/// Begins to look for the largest size anew.
pub(crate) fn reset_peak() -> Result<()> {
    std::fs::write("/proc/self/clear_refs", "5").map_err(Error::io("can't reset the peak of memory"))
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(path).map_err(Error::io(path))
}
