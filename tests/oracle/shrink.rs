//! A failure made small: steps, rows and parts of queries are taken away as long as the case still fails in the same way.
//!
//! All that is random comes from recorded choices, of which the first is ever the simplest; so a case with fewer or smaller choices is a
//! smaller case, whatever the grammar is: a query with less in it, an INSERT with fewer rows.

use std::time::{Duration, Instant};

use super::case::{Case, Choices, Failure, Step};

/// A minute finds most of what can go.
const PATIENCE: Duration = Duration::from_secs(60);

/// The smallest case that was found, and how it fails.
pub fn shrink(mut case: Case, mut failure: Failure) -> (Case, Failure) {
    let patience = std::env::var("MILLRACE_TEST_SHRINK").ok().and_then(|seconds| seconds.parse().ok());
    let mut search = Search { until: Instant::now() + patience.map_or(PATIENCE, Duration::from_secs) };
    case.steps.truncate(failure.step + 1);
    loop {
        let before = case.clone();
        search.simpler_engine(&mut case, &mut failure);
        search.fewer_steps(&mut case, &mut failure);
        search.fewer_choices(&mut case, &mut failure);
        let same = before.steps == case.steps && before.schema == case.schema;
        if same || search.is_over() {
            return (case, failure);
        }
    }
}

struct Search {
    until: Instant,
}

impl Search {
    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Takes the other case if it fails in the same way.
    fn attempt(&mut self, case: &mut Case, failure: &mut Failure, mut other: Case) -> bool {
        if self.is_over() {
            return false;
        }
        match other.run() {
            Err(new) if new.kind == failure.kind => {
                other.steps.truncate(new.step + 1);
                *case = other;
                *failure = new;
                true
            }
            _ => false,
        }
    }

    fn simpler_engine(&mut self, case: &mut Case, failure: &mut Failure) {
        let durable = case.durable && case.steps.contains(&Step::Restart);
        for simpler in [
            Case { workers: 1, ..case.clone() },
            Case { tiny: false, ..case.clone() },
            Case { durable, ..case.clone() },
            Case { stream: false, ..case.clone() },
        ] {
            let simpler = Case {
                workers: simpler.workers.min(case.workers),
                tiny: simpler.tiny && case.tiny,
                stream: simpler.stream && case.stream,
                ..simpler
            };
            if (simpler.workers, simpler.tiny, simpler.durable, simpler.stream)
                != (case.workers, case.tiny, case.durable, case.stream)
            {
                self.attempt(case, failure, simpler);
            }
        }
    }

    fn fewer_steps(&mut self, case: &mut Case, failure: &mut Failure) {
        for size in [8, 4, 2, 1] {
            let mut end = case.steps.len();
            while end > 0 {
                let begin = end.saturating_sub(size);
                let mut other = case.clone();
                let mut any = false;
                for step in &mut other.steps[begin..end] {
                    let nothing = match step {
                        Step::View(_) | Step::NoView => Step::NoView,
                        _ => Step::Nothing,
                    };
                    any |= std::mem::replace(step, nothing.clone()) != nothing;
                }
                if any {
                    self.attempt(case, failure, other);
                }
                end = begin.min(case.steps.len());
            }
        }
    }

    fn fewer_choices(&mut self, case: &mut Case, failure: &mut Failure) {
        // The last parts first: the failing query is among them.
        for place in (0..=case.steps.len()).rev() {
            for size in [16, 8, 4, 2, 1] {
                let mut begin = 0;
                while let Some(choices) = made(case, place).filter(|choices| begin < choices.len()) {
                    let end = (begin + size).min(choices.len());
                    let without = [&choices[..begin], &choices[end..]].concat();
                    let mut zeros = choices.clone();
                    zeros[begin..end].fill(0);
                    let is_zero = zeros == choices;
                    if self.try_choices(case, failure, place, without) {
                        continue;
                    }
                    if !is_zero {
                        self.try_choices(case, failure, place, zeros);
                    }
                    begin = end;
                }
            }
        }
    }

    fn try_choices(&mut self, case: &mut Case, failure: &mut Failure, place: usize, choices: Vec<u64>) -> bool {
        let mut other = case.clone();
        let Some(part) = part(&mut other, place) else { return false };
        let before = std::mem::replace(part, Choices::Made(choices));
        if self.is_over() {
            return false;
        }
        let Err(new) = other.run() else { return false };
        if new.kind != failure.kind {
            return false;
        }
        // What was run may have had more choices again: then it is no smaller.
        let smaller = matches!((self::part(&mut other, place), &before), (Some(Choices::Made(new)), Choices::Made(old)) if is_simpler(new, old));
        if smaller {
            other.steps.truncate(new.step + 1);
            *case = other;
            *failure = new;
        }
        smaller
    }
}

/// Fewer choices, or as many of which the first that differs is smaller.
fn is_simpler(new: &[u64], old: &[u64]) -> bool {
    (new.len(), new) < (old.len(), old)
}

/// A part by its place: the steps, then the tables.
fn part(case: &mut Case, place: usize) -> Option<&mut Choices> {
    if place == case.steps.len() {
        return Some(&mut case.schema);
    }
    match case.steps.get_mut(place)? {
        Step::View(choices) | Step::Change(choices) | Step::Alter(choices) | Step::Tick(choices) => Some(choices),
        Step::Restart | Step::Nothing | Step::NoView => None,
    }
}

fn made(case: &mut Case, place: usize) -> Option<Vec<u64>> {
    match part(case, place)? {
        Choices::Made(choices) => Some(choices.clone()),
        Choices::Seed(_) => None,
    }
}
