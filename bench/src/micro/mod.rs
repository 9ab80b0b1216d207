//! Micro-benchmarks: small pieces of fixed work over fixed inputs, one for each operator, codec and short path.
//!
//! They are there to be counted and not to be timed: `bench/instructions.py` runs them under callgrind and compares instructions with
//! recorded ones, which a busy machine doesn't change. So everything that is not the piece itself (inputs, plans, warm caches) is
//! made before, and all of a piece runs on the thread that calls [`counted`].
//!
//! Reading order: this file, [`world`] (the inputs), [`operators`], [`codecs`], [`serving`].

mod codecs;
mod operators;
mod serving;
mod world;

use std::rc::Rc;
use std::time::Instant;

use self::world::World;
use crate::{Error, Result};

/// `millrace bench micro`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which pieces, separated by commas: whole names, or what they begin with. All of them if there are none.
    #[arg(long, value_delimiter = ',')]
    pieces: Vec<String>,
}

/// The work of a piece, to be done once.
type Work = Box<dyn FnMut() -> Result<()>>;

/// A piece of work.
struct Piece {
    /// `group.what`.
    name: String,
    /// Prepares it.
    make: Box<dyn Fn() -> Result<Work>>,
}

/// Does each piece once and prints its name and its time, one line each, in the order in which they were done.
pub(crate) fn run(options: &Options) -> Result<()> {
    let world = Rc::new(World::new()?);
    let mut pieces = codecs::pieces(&world);
    pieces.extend(operators::pieces(&world));
    pieces.extend(serving::pieces());
    let wanted = |piece: &Piece| options.pieces.is_empty() || options.pieces.iter().any(|p| piece.name.starts_with(p));
    let pieces: Vec<Piece> = pieces.into_iter().filter(wanted).collect();
    if pieces.is_empty() {
        return Err(Error::Usage(format!("no piece is called {}", options.pieces.join(" or "))));
    }
    for piece in pieces {
        let mut work = (piece.make)()?;
        let began = Instant::now();
        counted(&mut *work)?;
        println!("{:<32}{:>10.3} ms", piece.name, began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}

/// Callgrind collects within this function, and writes down what it has when [`measured`] ends: one function can't do both. Their names are
/// parts of `bench/instructions.py`.
#[inline(never)]
fn counted(work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    let done = measured(work);
    // Without something to do behind it, this would be a jump.
    std::hint::black_box(done)
}

#[inline(never)]
fn measured(work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
    std::hint::black_box(work())
}
