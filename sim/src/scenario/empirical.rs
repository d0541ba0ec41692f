//! Empirical laws: points inside the scenario, or a file of observations or of points.

use std::path::Path;

use super::quantity::Quantity;
use super::section::{Item, Section};
use crate::engine::Empirical;

/// Largest file of a law \[bytes\]: ten million observations fit.
const FILE_MAX: u64 = 128 << 20;

const HELP: &str = "a law is `file = \"law.csv\"`, `quantiles = [smallest, …, largest]` at equal steps of probability, or \
                    `points = [[0, smallest], [0.5, median], …, [1, largest]]`";

/// The table under `empirical`.
pub(super) fn empirical(section: &mut Section<'_>, quantity: Quantity) -> Option<Empirical> {
    let sources = (section.take("file"), section.take("quantiles"), section.take("points"));
    let (item, law) = match sources {
        (Some(item), None, None) => {
            let name = item.name()?;
            let folder = Path::new(item.report().file_name()).parent().unwrap_or(Path::new(""));
            let law = from_file(&folder.join(name));
            (item, law)
        }
        (None, Some(item), None) => {
            let elements = item.elements("an array of values")?;
            let values: Option<Vec<f64>> =
                elements.iter().map(|item| item.parameter(quantity, false)).collect();
            (item, Empirical::from_quantiles(&values?))
        }
        (None, None, Some(item)) => {
            let elements = item.elements("an array of [probability, value]")?;
            let points: Option<Vec<_>> = elements.iter().map(|item| point(item, quantity)).collect();
            (item, Empirical::new(points?))
        }
        (None, None, None) => {
            section.missing("file", Some(HELP));
            return None;
        }
        _ => {
            let message = "an empirical law has one of `file`, `quantiles` and `points`, got several".into();
            section.report().error_with_help(section.span(), message, HELP);
            return None;
        }
    };
    law.map_err(|why| item.error_with_help(format!("`{}` makes no law: {why}", item.key), HELP)).ok()
}

fn point(item: &Item<'_>, quantity: Quantity) -> Option<(f64, f64)> {
    match &item.elements("a pair of probability and value")?[..] {
        [probability, value] => Some((probability.number()?, value.parameter(quantity, false)?)),
        other => {
            item.error(format!("a point is a pair of probability and value, got {} elements", other.len()));
            None
        }
    }
}

/// Reads a CSV file with one column, observations in any order, or with two, probabilities and values. Times are in
/// seconds. A first line that is no number is a heading; lines that begin with `#` are comments.
fn from_file(path: &Path) -> Result<Empirical, String> {
    let shown = path.display();
    let size = std::fs::metadata(path).map_err(|error| format!("cannot read {shown}: {error}"))?.len();
    if size > FILE_MAX {
        return Err(format!("{shown} has {size} bytes, at most {FILE_MAX} are read; take a sample of it"));
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .flexible(true)
        .from_path(path)
        .map_err(|error| format!("cannot read {shown}: {error}"))?;
    let (mut observations, mut points) = (Vec::new(), Vec::new());
    for (number, record) in reader.records().enumerate() {
        let record = record.map_err(|error| format!("cannot read {shown}: {error}"))?;
        let line = record.position().map_or(0, csv::Position::line);
        let numbers: Result<Vec<f64>, _> = record.iter().map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[value]) if points.is_empty() => observations.push(value),
            Ok(&[probability, value]) if observations.is_empty() => points.push((probability, value)),
            Err(_) if number == 0 => {}
            _ => return Err(format!("{shown}:{line}: expected one number in each line, or two in each")),
        }
    }
    if observations.is_empty() {
        return Empirical::new(points).map_err(|why| format!("{shown}: {why}"));
    }
    observations.sort_by(f64::total_cmp);
    Empirical::from_counts(observations.iter().map(|&value| (value, 1)))
        .map_err(|why| format!("{shown}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Empirical, String> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("law.csv");
        std::fs::write(&path, text).expect("a writable directory");
        from_file(&path)
    }

    #[test]
    fn one_column_is_observations_and_two_are_points() {
        let observed = file("seconds\n3\n# a comment\n1\n2\n2\n").expect("observations");
        assert_eq!(observed.points().collect::<Vec<_>>(), [(0.0, 1.0), (0.25, 1.0), (0.75, 2.0), (1.0, 3.0)]);
        let points = file("probability, value\n0, 0.5\n1, 1.5\n").expect("points");
        assert_eq!(points.mean(), 1.0);
    }

    #[test]
    fn a_file_that_is_no_law_is_refused_with_its_line() {
        for (text, why) in [
            ("1\n2,3\n", "law.csv:2: expected one number in each line"),
            ("1\nx\n", "law.csv:2: expected"),
            ("0.0,1,2\n", "law.csv:1: expected"),
            ("", "at least two points"),
            ("-1\n", "at least 0 and finite, got -1"),
            ("0,1\n0.5,2\n", "the last probability must be 1"),
        ] {
            let error = file(text).expect_err("no law");
            assert!(error.contains(why), "{text:?}: {error}");
        }
        assert!(
            from_file(Path::new("missing.csv")).expect_err("missing").contains("cannot read missing.csv")
        );
    }
}
