#![allow(missing_docs)]
use clap::Parser;
#[global_allocator]
static A: mimalloc::MiMalloc = mimalloc::MiMalloc;
#[derive(clap::Parser)]
struct C {
    #[command(flatten)]
    a: bench::Arguments,
}
fn main() {
    if let Err(e) = bench::run(C::parse().a) {
        eprintln!("{e}");
        std::process::exit(1);
    }
}
