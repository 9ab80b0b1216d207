//! Micro-benchmarks: small pieces of fixed work over fixed inputs, one for each operator, codec and short path.
//!
//! They are there to be counted and not to be timed: `bench/instructions.py` runs them under callgrind and compares instructions with
//! recorded ones, which a busy machine doesn't change. So everything that is not the piece itself (inputs, plans, warm caches) is
//! made before, and all of a piece runs on the thread that calls [`counted`].
//!
//! With an allocator that counts, they show instead what each allocates per row ([`allocations`]).
//!
//! Reading order: this file, [`world`] (the inputs), [`operators`], [`codecs`], [`serving`], [`allocations`].

mod allocations;
mod codecs;
mod operators;
mod serving;
mod world;

use std::rc::Rc;
use std::time::Instant;

pub use self::allocations::{Allocations, allocations};

use self::allocations::Meter;

use self::world::{EVENTS, World};
use crate::{Error, Result};

/// `millrace bench micro`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which pieces, separated by commas: whole names, or what they begin with. All of them if there are none.
    #[arg(long, value_delimiter = ',')]
    pieces: Vec<String>,
}

/// The work of a piece, to be done once. It says how much it was: rows, records or statements.
type Work = Box<dyn FnMut(&Meter) -> Result<u64>>;

/// A piece of work.
struct Piece {
    /// `group.what`.
    name: String,
    /// Prepares it.
    make: Box<dyn Fn() -> Result<Work>>,
}

/// Does each piece once and prints its name and its time, one line each, in the order in which they were done. Where `count` says how
/// often memory was asked for, prints instead how often each does.
pub(crate) fn run(options: &Options, count: Option<fn() -> u64>) -> Result<()> {
    if let Some(count) = count {
        println!("{:<32}{:>14}{:>12}", "", "a million rows", "at all");
        for found in allocations(count, &options.pieces)? {
            println!("{:<32}{:>14.0}{:>12}", found.piece, found.per_row * 1e6, found.total);
        }
        return Ok(());
    }
    for piece in pieces(EVENTS, &options.pieces)? {
        let mut work = (piece.make)()?;
        let began = Instant::now();
        counted(&mut *work)?;
        println!("{:<32}{:>10.3} ms", piece.name, began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}

/// The pieces of which names begin with one of `wanted` (none: all), over so many events.
fn pieces(events: u64, wanted: &[String]) -> Result<Vec<Piece>> {
    let world = Rc::new(World::new(events)?);
    let mut pieces = codecs::pieces(&world);
    pieces.extend(operators::pieces(&world));
    pieces.extend(serving::pieces());
    pieces.retain(|piece| wanted.is_empty() || wanted.iter().any(|wanted| piece.name.starts_with(wanted)));
    if pieces.is_empty() {
        return Err(Error::Usage(format!("no piece is called {}", wanted.join(" or "))));
    }
    Ok(pieces)
}

/// Callgrind collects within this function, and writes down what it has when [`measured`] ends: one function can't do both. Their names are
/// parts of `bench/instructions.py`.
#[inline(never)]
fn counted(work: &mut dyn FnMut(&Meter) -> Result<u64>) -> Result<u64> {
    let done = measured(work);
    // Without something to do behind it, this would be a jump.
    std::hint::black_box(done)
}

#[inline(never)]
fn measured(work: &mut dyn FnMut(&Meter) -> Result<u64>) -> Result<u64> {
    std::hint::black_box(work(&Meter::default()))
}
