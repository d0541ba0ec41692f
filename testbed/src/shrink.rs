//! Makes a case that differs smaller while it differs: after "ddmin" (Zeller & Hildebrandt, Simplifying and Isolating
//! Failure-Inducing Input, IEEE TSE 28(2), 2002), in that chunks of the steps are left out, halves first, then ever
//! smaller ones; then what is configured is made simpler, one thing at a time.

use crate::script::{Script, Step};

/// Shrinks `script`, of which `differs` is known to hold; `simpler` lists configurations with one thing less. `differs` is
/// asked until it says that it will not be asked any more, by `None`.
pub(crate) fn shrink<S: Clone>(
    mut script: Script<S>,
    simpler: impl Fn(&S) -> Vec<S>,
    mut differs: impl FnMut(&Script<S>) -> Option<bool>,
) -> Script<S> {
    loop {
        let before = script.steps.len();
        if drop_steps(&mut script, &mut differs).is_none() {
            return script;
        }
        let mut simplified = false;
        // What did not help is not tried again: the list is made anew only when something has helped.
        'again: loop {
            for setup in simpler(&script.setup) {
                let candidate = Script { setup, steps: script.steps.clone() };
                match differs(&candidate) {
                    None => return script,
                    Some(true) => {
                        script = candidate;
                        simplified = true;
                        continue 'again;
                    }
                    Some(false) => {}
                }
            }
            break;
        }
        if !simplified && script.steps.len() == before {
            return script;
        }
    }
}

fn drop_steps<S: Clone>(
    script: &mut Script<S>,
    differs: &mut impl FnMut(&Script<S>) -> Option<bool>,
) -> Option<()> {
    let mut size = script.steps.len().div_ceil(2);
    while size > 0 {
        // From the end: what comes after the difference is of no use, and the first to go.
        let mut end = script.steps.len();
        while end > 0 {
            let start = end.saturating_sub(size);
            let steps: Vec<Step> = [&script.steps[..start], &script.steps[end..]].concat();
            let candidate = Script { setup: script.setup.clone(), steps };
            if differs(&candidate)? {
                *script = candidate;
            }
            end = start;
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(steps: u32) -> Script<Vec<u32>> {
        Script { setup: (0..5).collect(), steps: (0..steps).map(Step::Wait).collect() }
    }

    fn simpler(setup: &[u32]) -> Vec<Vec<u32>> {
        (0..setup.len()).map(|at| [&setup[..at], &setup[at + 1..]].concat()).collect()
    }

    fn needs(script: &Script<Vec<u32>>, steps: &[u32], setup: &[u32]) -> bool {
        steps.iter().all(|&step| script.steps.contains(&Step::Wait(step)))
            && setup.iter().all(|part| script.setup.contains(part))
    }

    #[test]
    fn what_makes_the_difference_is_all_that_is_left() {
        let mut asked = 0;
        let small = shrink(
            script(300),
            |setup| simpler(setup),
            |candidate| {
                asked += 1;
                Some(needs(candidate, &[17, 18, 250], &[3]))
            },
        );
        assert_eq!(small.steps, [17, 18, 250].map(Step::Wait));
        assert_eq!(small.setup, [3]);
        assert!(asked < 200, "{asked} questions for three steps of 300");
    }

    #[test]
    fn the_smallest_so_far_is_kept_when_there_is_no_more_time() {
        let mut left = 3;
        let small = shrink(
            script(64),
            |setup| simpler(setup),
            |candidate| {
                left -= 1;
                (left >= 0).then(|| needs(candidate, &[0], &[]))
            },
        );
        assert_eq!(small.steps.len(), 16);
        assert_eq!(small.setup.len(), 5);
    }
}
