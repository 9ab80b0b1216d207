//! `millrace backup` and `millrace restore`: copies of a data directory, of a running server too.

use std::path::PathBuf;

use clap::Args;

use crate::control;
use crate::error::Failure;
use crate::units::Bytes;

/// `millrace backup DIR`.
#[derive(Args)]
pub(crate) struct BackupArguments {
    /// The directory of backups; each one adds only what has changed since the ones that are there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// What is copied; a server that uses it goes on meanwhile
    #[arg(long, env = "MILLRACE_DATA_DIR", value_name = "DIR", default_value = "millrace-data")]
    data_dir: PathBuf,
    /// Removes all but the last so many backups
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
    /// Shows the backups that are there, and makes none
    #[arg(long)]
    list: bool,
}

/// `millrace restore DIR`.
#[derive(Args)]
pub(crate) struct RestoreArguments {
    /// The directory of backups
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Where a server will find it: a directory that is empty or doesn't exist
    #[arg(long, env = "MILLRACE_DATA_DIR", value_name = "DIR", default_value = "millrace-data")]
    data_dir: PathBuf,
    /// Which backup [default: the last one]
    #[arg(long, value_name = "NUMBER")]
    number: Option<u32>,
}

/// Adds a backup, or lists those that are there.
pub(crate) fn backup(arguments: &BackupArguments) -> Result<(), Failure> {
    let BackupArguments { directory, data_dir, keep, list } = arguments;
    if *list {
        for backup in engine::backups(directory)? {
            let bytes = Bytes(usize::try_from(backup.bytes).unwrap_or(usize::MAX));
            println!("{:>6}  {}  {bytes}", backup.number, time(backup.made_at));
        }
        return Ok(());
    }
    // A running server makes it itself: it alone may open its files.
    let number = match control::ask_for_backup(data_dir, directory, *keep)? {
        Some(number) => number,
        None => engine::backup(data_dir, directory, *keep)?.number,
    };
    println!("backup {number} of {} is in {}", data_dir.display(), directory.display());
    Ok(())
}

/// Puts a copy where a server will find it.
pub(crate) fn restore(arguments: &RestoreArguments) -> Result<(), Failure> {
    let RestoreArguments { directory, data_dir, number } = arguments;
    let restored = engine::restore(directory, *number, data_dir)?;
    println!("restored backup {} of {} into {}", restored.number, directory.display(), data_dir.display());
    Ok(())
}

/// Seconds since 1970 as a date and a time, UTC.
fn time(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 1970 to a date of the civil calendar, with years that begin in March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn seconds_read_as_a_date() {
        assert_eq!(time(0), "1970-01-01 00:00:00Z");
        assert_eq!(time(951_827_696), "2000-02-29 12:34:56Z");
        assert_eq!(time(1_735_689_599), "2024-12-31 23:59:59Z");
    }
}
