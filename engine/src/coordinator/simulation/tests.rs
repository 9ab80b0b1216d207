//! How long it runs, and that it would find what it is there to find.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::life::Tools;
use super::topic::PARTITIONS;
use super::{Report, Simulation, run, transfers};
use crate::ErrorKind;
use crate::command::Command;
use crate::planted::{Bug, plant};

/// Seeds of every test run.
const SEEDS: u64 = 60;

/// Seeds of every test run in which money is moved.
const SEEDS_OF_TRANSFERS: u64 = 12;

/// Seeds within which each planted bug must be found.
const SEEDS_PER_BUG: u64 = 400;

#[test]
fn nothing_is_lost_and_nothing_comes_twice() {
    let tools = Tools::new();
    let mut lives = 0;
    for seed in 0..SEEDS {
        lives += run(seed, &tools).injected.restarts;
    }
    assert!(lives > SEEDS * 4, "only {lives} deaths");
}

#[test]
fn views_agree_in_every_epoch() {
    let tools = Tools::new();
    (0..SEEDS_OF_TRANSFERS).for_each(|seed| transfers::run(seed, &tools));
}

#[test]
fn a_seed_is_repeated_to_the_byte() {
    let tools = Tools::new();
    for seed in [3, 17, 1_000_003] {
        assert_eq!(run(seed, &tools).digest, run(seed, &tools).digest, "seed {seed}");
    }
}

/// A test that can't fail is worse than none.
#[test]
fn planted_bugs_are_found() {
    let tools = Tools::new();
    let mut missed = Vec::new();
    // BUG=OffsetsForgotten looks for one of them.
    let only = std::env::var("BUG").ok();
    for bug in Bug::ALL.into_iter().filter(|bug| only.as_ref().is_none_or(|name| *name == format!("{bug:?}"))) {
        plant(Some(bug));
        let began = Instant::now();
        let found = (0..SEEDS_PER_BUG).find_map(|seed| {
            let both = || {
                transfers::run(seed, &tools);
                run(seed, &tools)
            };
            let panic = catch_unwind(AssertUnwindSafe(both)).err()?;
            let text = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "?".to_owned());
            Some((seed, text.lines().next().unwrap_or_default().to_owned()))
        });
        plant(None);
        match found {
            Some((seed, how)) => println!("{bug:?}: seed {seed}, {:.1?}: {how}", began.elapsed()),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found in {SEEDS_PER_BUG} seeds: {missed:?}");
}

/// A restored server that finds the disk full while it reads what its sinks have sent hears that it is to stop.
#[test]
fn a_full_disk_does_not_keep_a_restored_server_from_stopping() {
    let tools = Tools::new();
    let mut simulation = Simulation::new(5, &tools);
    simulation.world.calm();
    simulation.live();
    simulation.set_up();
    let come = |simulation: &mut Simulation<'_>| {
        (0..PARTITIONS).for_each(|partition| simulation.world.produce(partition, 20));
        simulation.settle();
    };
    come(&mut simulation);
    simulation.back_up();
    come(&mut simulation);
    simulation.restore();
    simulation.store.fill(u32::MAX);
    let mut life = simulation.life.take().expect("it has been restored");
    while !life.waits_for_room() {
        for number in 0..simulation.world.couriers() {
            simulation.world.courier_step(number);
        }
        life.catch_up();
        assert!(life.is_catching_up(), "there is no room for what came after the backup");
    }
    let (mut coordinator, past, commands) = life.into_parts();
    let (reply, _answer) = tokio::sync::oneshot::channel();
    coordinator.commands.send_from_thread(Command::Shutdown { reply });
    let (sender, done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let past = past.expect("it is catching up");
        let stopped = coordinator.catch_up_on(past, &commands);
        sender.send(stopped.is_err_and(|error| error.kind == ErrorKind::DiskFull))
    });
    assert_eq!(done.recv_timeout(Duration::from_secs(20)), Ok(true), "it stops, and says why");
}

/// `make simulate`: from seed to seed until told to stop (SIMULATE_SECONDS), with a line of progress. A seed that fails is printed, and repeats the
/// failure: `SEED=N COUNT=1`, with `MILLRACE_TRACE=1` turn by turn.
#[test]
fn for_as_long_as_told() {
    if std::env::var_os("SIMULATE").is_none() {
        return;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("SEED").unwrap_or_else(|| {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs() * 1_000_000)
    });
    let (seconds, count) = (number("SIMULATE_SECONDS"), number("COUNT"));
    let threads = number("JOBS").unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get() as u64));
    let began = Instant::now();
    let (next, stop) = (Arc::new(AtomicU64::new(first)), Arc::new(AtomicBool::new(false)));
    let total = Arc::new(Mutex::new((0_u64, Report::default())));
    let failed = Arc::new(Mutex::new(Vec::new()));
    let work = || {
        let tools = Tools::new();
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if count.is_some_and(|count| seed >= first + count) {
                return;
            }
            match catch_unwind(AssertUnwindSafe(|| run(seed, &tools))) {
                Ok(report) => {
                    let mut total = total.lock();
                    total.0 += 1;
                    add(&mut total.1, &report);
                    if count == Some(1) {
                        println!("seed {seed}: digest {:016x}", report.digest);
                    }
                }
                Err(_) => {
                    failed.lock().push(seed);
                    stop.store(true, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut last = Instant::now();
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(50));
            if last.elapsed() >= Duration::from_secs(1) {
                last = Instant::now();
                progress(began.elapsed(), next.load(Ordering::Relaxed), &total.lock());
            }
            if seconds.is_some_and(|seconds| began.elapsed().as_secs() >= seconds) {
                stop.store(true, Ordering::Relaxed);
            }
        }
    });
    progress(began.elapsed(), next.load(Ordering::Relaxed), &total.lock());
    let failed = failed.lock().clone();
    assert!(failed.is_empty(), "failed: {failed:?}; repeat with `make simulate SEED={} COUNT=1`", failed[0]);
}

fn add(total: &mut Report, one: &Report) {
    let (a, b) = (&mut total.injected, &one.injected);
    a.full += b.full;
    a.failed_before += b.failed_before;
    a.failed_after += b.failed_after;
    a.crashes_at_commits += b.crashes_at_commits;
    a.restarts += b.restarts;
    a.lost_commits += b.lost_commits;
    a.failed_reads += b.failed_reads;
    a.restored += b.restored;
    let (a, b) = (&mut total.happened, &one.happened);
    a.source_failures += b.source_failures;
    a.sink_failures += b.sink_failures;
    a.answers_lost += b.answers_lost;
    a.fenced += b.fenced;
    a.taken_over += b.taken_over;
    a.clock_jumps += b.clock_jumps;
    a.left_behind += b.left_behind;
    total.epochs += one.epochs;
    total.records += one.records;
    total.writes += one.writes;
    total.conflicts += one.conflicts;
    total.builds += one.builds;
    total.errands += one.errands;
}

fn progress(time: Duration, next: u64, (seeds, r): &(u64, Report)) {
    let seconds = time.as_secs_f64().max(0.001);
    let (i, h) = (&r.injected, &r.happened);
    println!(
        "{seconds:>5.0} s  {seeds} seeds ({:.1}/s, next {next})  {} crashes ({:.0}/s; {} at a commit, {} restored)  \
         disk: {} commits lost, {} full, {} failed, {} uncertain, {} reads failed  \
         sinks: {} failed, {} answers lost, {} fenced, {} taken over  sources: {} away  clock: {} jumps  \
         | {} epochs, {} records, {} writes, {} conflicts, {} errands, {} build steps, {} left behind",
        *seeds as f64 / seconds,
        i.restarts,
        i.restarts as f64 / seconds,
        i.crashes_at_commits,
        i.restored,
        i.lost_commits,
        i.full,
        i.failed_before,
        i.failed_after,
        i.failed_reads,
        h.sink_failures,
        h.answers_lost,
        h.fenced,
        h.taken_over,
        h.source_failures,
        h.clock_jumps,
        r.epochs,
        r.records,
        r.writes,
        r.conflicts,
        r.errands,
        r.builds,
        h.left_behind,
    );
}
