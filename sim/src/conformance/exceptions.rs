//! Decisions of which is known that the recording, not the model, is to be explained.

use super::{CaseOutcome, CaseReport};

/// One decision that a recording has otherwise than the model, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exception {
    /// The program that was recorded.
    pub program: &'static str,
    /// The case: the name of its folder.
    pub case: &'static str,
    /// Line in `events.csv`, from 1, the header being line 1.
    pub row: u64,
    /// Time of the row, as recorded, in milliseconds.
    pub t_ms: f64,
    /// Why they differ.
    pub reason: &'static str,
}

/// All of them.
pub const EXCEPTIONS: &[Exception] = &[Exception {
    program: "haproxy",
    case: "check-all-down",
    row: 427,
    t_ms: 17_100.5,
    reason: "the request and the failure of both servers fell within two milliseconds, and were recorded the other way \
             round: its tries are those of a request that came after the failure",
}];

/// The exception that explains all differences of a case: its one decision is the only one that differs.
pub(super) fn explains(report: &CaseReport) -> Option<&'static Exception> {
    let CaseOutcome::Replayed { decisions, matched, first_difference: Some(difference) } = &report.outcome
    else {
        return None;
    };
    EXCEPTIONS.iter().filter(|_| decisions - matched == 1).find(|exception| {
        report.program == exception.program
            && report.case.rsplit('/').next() == Some(exception.case)
            && difference.row == exception.row
            && difference.t_ms == exception.t_ms
    })
}

#[cfg(test)]
mod tests {
    use super::super::Difference;
    use super::*;

    fn report(case: &str, differing: u64, row: u64) -> CaseReport {
        let difference = Difference {
            row,
            t_ms: 17_100.5,
            event: "open".into(),
            recorded: "503".into(),
            modelled: "200".into(),
        };
        CaseReport {
            program: "haproxy".into(),
            case: case.into(),
            algorithm: "roundrobin".into(),
            outcome: CaseOutcome::Replayed {
                decisions: 100,
                matched: 100 - differing,
                first_difference: Some(difference),
            },
        }
    }

    #[test]
    fn an_exception_explains_its_one_decision_and_nothing_else() {
        assert!(!report("haproxy/check-all-down", 1, 427).failed());
        assert!(report("haproxy/check-all-down", 2, 427).failed(), "another decision differs too");
        assert!(report("haproxy/check-all-down", 1, 428).failed());
        assert!(report("check-refuse", 1, 427).failed());
    }
}
