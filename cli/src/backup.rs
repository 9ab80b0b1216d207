//! `millrace backup` and `millrace restore`: a data directory copied while no server uses it.

use std::path::PathBuf;

use clap::Args;

use crate::error::Failure;

/// `millrace backup DIR`.
#[derive(Args)]
pub(crate) struct BackupArguments {
    /// Where the copy goes: a directory that is empty or doesn't exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// What is copied; no server may be using it
    #[arg(long, env = "MILLRACE_DATA_DIR", value_name = "DIR", default_value = "millrace-data")]
    data_dir: PathBuf,
}

/// `millrace restore DIR`.
#[derive(Args)]
pub(crate) struct RestoreArguments {
    /// The backup
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Where a server will find it: a directory that is empty or doesn't exist
    #[arg(long, env = "MILLRACE_DATA_DIR", value_name = "DIR", default_value = "millrace-data")]
    data_dir: PathBuf,
}

/// Copies a data directory.
pub(crate) fn backup(arguments: &BackupArguments) -> Result<(), Failure> {
    engine::backup(&arguments.data_dir, &arguments.directory)?;
    println!("copied {} to {}", arguments.data_dir.display(), arguments.directory.display());
    Ok(())
}

/// Puts a copy where a server will find it.
pub(crate) fn restore(arguments: &RestoreArguments) -> Result<(), Failure> {
    engine::restore(&arguments.directory, &arguments.data_dir)?;
    println!("restored {} into {}", arguments.directory.display(), arguments.data_dir.display());
    Ok(())
}
