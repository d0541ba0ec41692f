//! The files of `evenkeel fit`: a population file that scenarios name, the users it refers to, and charts of fit against data.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use evenkeel_sim::engine::{Distribution, Empirical};
use evenkeel_sim::population::fit::{Fit, FittedLaw, Group, SERVICE};
use evenkeel_sim::population::replay::LogStatistics;

use crate::charts::{ChartError, fitted};

/// Why the files could not be written.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// A file or folder could not be written.
    #[error("{}: cannot write: {source}\n  choose another file with `--out`", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The name gives the files beside it none.
    #[error("{}: has no name that a population file could have\n  write `--out site.toml`", path.display())]
    Unnamed {
        /// The path.
        path: PathBuf,
    },
    /// A chart could not be drawn.
    #[error(transparent)]
    Chart(#[from] ChartError),
}

/// Lines for people: what was fitted, and how well.
pub fn goodness(fit: &Fit) -> Vec<String> {
    let mut lines: Vec<String> =
        fit.laws.iter().filter(|law| law.number() > 0).flat_map(|law| law.goodness()).collect();
    match &fit.tail {
        Some(tail) => lines.push(format!(
            "tail of requests per address: Hill index {:.2} ± {:.2} (standard error) from the {} addresses above {} requests \
             ({:.0} % of all); KS of that tail against a Pareto law {:.3}",
            tail.index,
            tail.standard_error,
            tail.values,
            tail.from,
            tail.share * 100.0,
            tail.distance
        )),
        None => lines.push("tail of requests per address: too few addresses for an index".to_owned()),
    }
    if let Some(hours) = &fit.hours {
        for (name, group) in ["people", "robots"].into_iter().zip(hours) {
            let (most, least) = (group.iter().max(), group.iter().min());
            if let (Some(&most @ 1..), Some(&least)) = (most, least) {
                let ratio =
                    if least > 0 { format!("{:.1}", most as f64 / least as f64) } else { "infinite".into() };
                lines.push(format!("day of {name}: visits begun in the busiest hour over those in the quietest {ratio} (hours in UTC)"));
            }
        }
    }
    lines.push(format!("static objects: {:.1} % of the requests", fit.static_share * 100.0));
    lines
}

/// Writes `out`, the users beside it (`site.people.csv`) and a folder of charts (`site.fit`); gives all paths. `source` names
/// the log.
///
/// # Errors
/// [`FitError`].
pub fn write_fit(
    out: &Path,
    fit: &Fit,
    statistics: &LogStatistics,
    source: &str,
) -> Result<Vec<PathBuf>, FitError> {
    let stem = out.file_stem().ok_or_else(|| FitError::Unnamed { path: out.to_owned() })?.to_string_lossy();
    let mut written = Vec::new();
    let mut write = |path: PathBuf, bytes: &[u8]| {
        fs::write(&path, bytes).map_err(|source| FitError::Write { path: path.clone(), source })?;
        written.push(path);
        Ok::<(), FitError>(())
    };
    for group in &fit.groups {
        write(out.with_file_name(users_file(&stem, group)), group.csv.as_bytes())?;
    }
    if let Some(law) = service(fit).and_then(|law| law.empirical.as_ref()) {
        write(out.with_file_name(service_file(&stem)), service_csv(law).as_bytes())?;
    }
    write(out.to_owned(), population_file(&stem, fit, statistics, source).as_bytes())?;
    let charts = out.with_file_name(format!("{stem}.fit"));
    fs::create_dir_all(&charts).map_err(|source| FitError::Write { path: charts.clone(), source })?;
    for chart in fitted(fit, source) {
        write(charts.join(format!("{}.svg", chart.name)), chart.svg().as_bytes())?;
        write(charts.join(format!("{}.png", chart.name)), &chart.png()?)?;
    }
    Ok(written)
}

fn users_file(stem: &str, group: &Group) -> String {
    format!("{stem}.{}.csv", group.name)
}

fn service_file(stem: &str) -> String {
    format!("{stem}.service.csv")
}

/// The law of service times, if the log has durations.
fn service(fit: &Fit) -> Option<&FittedLaw> {
    fit.laws.iter().find(|law| law.name == SERVICE)
}

fn service_csv(law: &Empirical) -> String {
    let mut text = "probability,seconds\n".to_owned();
    for (probability, value) in law.points() {
        writeln!(text, "{probability:?},{value:.6}").expect("writing to a string");
    }
    text
}

/// A law of times as a scenario writes it, of those whose parameters are plain.
fn as_written(law: &Distribution) -> Option<String> {
    Some(match law {
        Distribution::Exponential { mean } => format!("{{ exponential = {{ mean = \"{mean:.6}s\" }} }}"),
        Distribution::Lognormal { mean, cv } => {
            format!("{{ lognormal = {{ mean = \"{mean:.6}s\", cv = {cv:.4} }} }}")
        }
        Distribution::Weibull { scale, shape } => {
            format!("{{ weibull = {{ scale = \"{scale:.6}s\", shape = {shape:.4} }} }}")
        }
        _ => return None,
    })
}

/// What to write as the servers' service time, in lines of comment.
fn service_suggestion(stem: &str, law: &FittedLaw) -> Vec<String> {
    let nearest = law.candidates.iter().find_map(|candidate| Some((as_written(&candidate.law)?, candidate)));
    let mut lines = vec![
        "# Service times of the log, for `capacity` in a scenario's `[cluster]`: as they were,".to_owned(),
        format!("#   service = {{ empirical = {{ file = {} }} }}", quoted(&service_file(stem))),
    ];
    if let Some((written, candidate)) = nearest {
        lines.push(format!("# or by the nearest law (KS {:.4}),", candidate.distance));
        lines.push(format!("#   service = {written}"));
    }
    lines.push(
        "# A logged time holds the wait for a worker, too: where the servers were busy, their service was shorter.".to_owned(),
    );
    lines
}

/// A quoted TOML string.
fn quoted(text: &str) -> String {
    // JSON's escapes are TOML's, and a string has no other way to fail than a lack of memory.
    serde_json::to_string(text).unwrap_or_default()
}

fn population_file(stem: &str, fit: &Fit, statistics: &LogStatistics, source: &str) -> String {
    let mut text = String::new();
    let mut line = |words: &str| writeln!(text, "{words}").expect("writing to a string");
    line(&format!(
        "# The users of {source}, fitted: name this file in a scenario as `populations = \"{stem}.toml\"`."
    ));
    line("#");
    line(
        "# Each user is like one of the log: on networks that are shared as they were there, with that user's visits, pace",
    );
    line(&format!(
        "# and absences. In {} (the log's length) each comes as often as it did. Logins are not in a log: set `login`.",
        seconds(fit.span_s.into())
    ));
    line("#");
    for sentence in statistics.inferred() {
        line(&format!("# {}", sentence.replace('\n', " ")));
    }
    line("#");
    for sentence in goodness(fit) {
        line(&format!("# {}", sentence.replace('\n', " ")));
    }
    if let Some(law) = service(fit) {
        line("#");
        service_suggestion(stem, law).iter().for_each(|words| line(words));
    }
    for group in &fit.groups {
        let hours = fit.hours.as_ref().map(|hours| &hours[usize::from(group.name == "robots")]);
        line("");
        line("[[population]]");
        line(&format!("name = {}", quoted(&format!("{stem} {}", group.name))));
        line(&format!("clients = {} # {} requests", group.users, group.requests));
        line(&format!("users = {{ file = {} }}", quoted(&users_file(stem, group))));
        if group.sampled > 1 {
            line(&format!("# (a sample: beside the busiest networks, one of {} of them)", group.sampled));
        }
        line("");
        line("[population.visit]");
        line("login = false");
        if let Some(hours) = hours.filter(|hours| hours.iter().any(|visits| *visits > 0)) {
            line("# Visits by the hour at which they begin, in UTC as the hour at which the log begins.");
            line(&format!("diurnal = {{ starts_at = \"{}s\", hours = {hours:?} }}", fit.starts_at_s));
        }
        if let Some(think) = &group.think {
            line("# For a user of mean pace; everyone's own pace scales it.");
            line("[population.visit.think.empirical]");
            line("points = [");
            for (probability, value) in think.points() {
                line(&format!("  [{probability:?}, \"{value:.3}s\"],"));
            }
            line("]");
        }
    }
    text
}

/// A length of time in the largest fitting unit.
fn seconds(seconds: u64) -> String {
    match seconds {
        0..7_200 => format!("{seconds} s"),
        7_200..172_800 => format!("{:.1} hours", seconds as f64 / 3_600.0),
        _ => format!("{:.1} days", seconds as f64 / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_sim::population::fit::fit;
    use evenkeel_sim::population::replay::{LogOptions, LogPreparation};
    use evenkeel_sim::scenario::{Overrides, load};

    use super::*;

    /// Forty users on twenty addresses, three visits each, of one to four clicks.
    fn log() -> String {
        let mut lines = String::new();
        for visit in 0..3_u32 {
            for user in 0..40_u32 {
                for click in 0..=(user + visit) % 4 {
                    let second = visit * 20_000 + user * 60 + click * (5 + user % 7);
                    let (day, hour, minute) = (second / 86_400 + 1, second / 3_600 % 24, second / 60 % 60);
                    writeln!(
                        lines,
                        "192.0.{}.{} - - [{day:02}/Feb/2016:{hour:02}:{minute:02}:{:02} +0000] \"GET / HTTP/1.1\" 200 1 \"-\" \"A{user}\"",
                        user / 8, user / 2, second % 60
                    )
                    .expect("writing to a string");
                }
            }
        }
        lines
    }

    #[test]
    fn durations_become_service_times_that_a_scenario_can_take() {
        let format = "$remote_addr [$time_local] \"$request\" $request_time $upstream_response_time";
        let options = LogOptions { format: Some(format.parse().expect("a format")), ..LogOptions::default() };
        let mut preparation = LogPreparation::new(options);
        let mut lines = String::new();
        for n in 0..400 {
            let end = if n % 2 == 0 { "/ HTTP/1.1\" 9.000 0.0" } else { "/a.png HTTP/1.1\" 0.001 -" };
            let ms = if n % 2 == 0 { format!("{}", 10 + n * n % 83) } else { String::new() };
            writeln!(lines, "192.0.2.{} [20/Feb/2016:00:00:45 +0000] \"GET {end}{ms}", n % 9)
                .expect("writing to a string");
        }
        preparation.read("access.log", lines.as_bytes()).expect("a log");
        let log = preparation.finish().expect("valid lines");
        assert_eq!(log.statistics().timed_requests, 200);
        let fit = fit(&log).expect("records in memory");
        let folder = tempfile::tempdir().expect("a temporary directory");
        let out = folder.path().join("site.toml");
        write_fit(&out, &fit, log.statistics(), "access.log").expect("a writable directory");
        let population = fs::read_to_string(&out).expect("a population file");
        let suggested: Vec<&str> =
            population.lines().filter_map(|line| line.strip_prefix("#   service = ")).collect();
        assert_eq!(suggested.len(), 2, "{population}");
        for service in suggested {
            let scenario = folder.path().join("scenario.toml");
            let text = format!(
                "title = \"t\"\nduration = \"1h\"\npopulations = \"site.toml\"\n[cluster]\n\
                 servers = [{{ name = \"a\", address = \"10.0.0.1:80\" }}]\ncapacity = {{ workers = 1, service = {service} }}\n\
                 [[strategy]]\nname = \"s\"\nsession = {{ local = {{}} }}\nbalancer = \"nginx.ip_hash\"\n"
            );
            fs::write(&scenario, text).expect("a writable directory");
            let loaded = load(&scenario, &Overrides::NONE).unwrap_or_else(|mistakes| panic!("{mistakes}"));
            let mean = loaded.scenario.servers[0].capacity.service.mean();
            let expected = (0..200).map(|n| f64::from(10 + 4 * n * n % 83)).sum::<f64>() / 200e3;
            assert!((mean / expected - 1.0).abs() < 0.1, "{service}: {mean} of {expected}");
        }
    }

    #[test]
    fn what_is_written_is_a_population_that_a_scenario_can_name() {
        let mut preparation = LogPreparation::new(LogOptions::default());
        preparation.read("access \"x\".log", log().as_bytes()).expect("a log");
        let log = preparation.finish().expect("valid lines");
        let fit = fit(&log).expect("records in memory");
        let folder = tempfile::tempdir().expect("a temporary directory");
        let out = folder.path().join("site.toml");
        let files =
            write_fit(&out, &fit, log.statistics(), "access \"x\".log").expect("a writable directory");
        assert!(files.iter().any(|file| file.ends_with("site.fit/think.png")), "{files:?}");
        let scenario = folder.path().join("scenario.toml");
        let text = "title = \"t\"\nduration = \"1h\"\npopulations = \"site.toml\"\n[cluster]\n\
                    servers = [{ name = \"a\", address = \"10.0.0.1:80\" }]\ncapacity = { workers = 1, service = \"1ms\" }\n\
                    [[strategy]]\nname = \"s\"\nsession = { local = {} }\nbalancer = \"nginx.ip_hash\"\n";
        fs::write(&scenario, text).expect("a writable directory");
        let loaded = load(&scenario, &Overrides::NONE).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert_eq!(loaded.scenario.populations[0].clients, 40);
        assert_eq!(loaded.scenario.populations[0].name, "site people");
        // What `explain` prints means the same.
        let explained = loaded.resolved.to_string();
        fs::write(&scenario, &explained).expect("a writable directory");
        let again =
            load(&scenario, &Overrides::NONE).unwrap_or_else(|mistakes| panic!("{mistakes}\n{explained}"));
        assert_eq!(again.resolved.to_string(), explained);
        // A change of the users is noticed.
        fs::write(
            folder.path().join("site.people.csv"),
            "network,copies,address,think_s,away_s,visits\n0,1,0,1,1,1\n",
        )
        .expect("a writable directory");
        let mistakes = load(&scenario, &Overrides::NONE).expect_err("another file").to_string();
        assert!(mistakes.contains("the file's SHA-256 is"), "{mistakes}");
    }
}
