//! The arguments.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::log_args::LogArgs;
use crate::progress::Watch;

const EXAMPLES: &str = "\
Examples:
  evenkeel run scenarios/article/topologies.toml
  evenkeel run scenarios/article/topologies.toml --set population.homes.clients=2000 --explain-losses 5
  evenkeel check scenarios/gate --baseline baseline.json --format junit=verdicts.xml
  evenkeel baseline write scenarios/gate --out baseline.json
  evenkeel compare scenarios/gate/two-servers.toml changed.toml --fail-on regression
  evenkeel advise scenarios/tour/advise.toml --out results/advise
  evenkeel plan scenarios/tour/sweep.toml && evenkeel sweep scenarios/tour/sweep.toml --shard 0/4
  evenkeel explain scenarios/logs/blog2016.toml
  evenkeel fit access.log.1.gz access.log --out site.toml
  evenkeel replay access.log --scenario scenarios/article/topologies.toml
  evenkeel list metrics
  evenkeel conformance sim/tests/golden
  evenkeel conformance --live --program nginx --cases 20 --seed 7";

const EXIT_CODES: &str = "\
Exit codes:
  0  fine
  1  a fault in Evenkeel
  2  bad usage, or a bad scenario
  3  an expectation not met or undecided; a decision that differs from the real program's
  4  nothing ran: no expectation to check, nothing to replay, no program to drive
  5  incomplete sweep: parts are missing
  130  interrupted, by Ctrl-C or SIGTERM";

/// How uneven does the load of a web cluster get, and who gets logged out?
#[derive(Debug, Parser)]
#[command(version, before_help = EXAMPLES, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,

    /// When to colour: on a terminal, always, never. `NO_COLOR` and `CLICOLOR_FORCE` are honoured.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,

    /// No progress, no notes: only results and errors.
    #[arg(short, long, global = true)]
    pub quiet: bool,

    /// The command as it could be typed again.
    #[arg(skip)]
    pub typed: String,
}

impl Arguments {
    /// Who is shown how far the work has come.
    pub fn watch(&self) -> Watch<'static> {
        if self.quiet { Watch::Nobody } else { Watch::Terminal }
    }
}

/// When to colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Makes it the choice of every stream.
    pub fn write_global(self) {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a scenario: print a table, write a result folder with charts and a report.
    Run(Run),
    /// Run a scenario's strategies under access logs in place of its own traffic.
    Replay(Replay),
    /// Fit a population to access logs: a file that scenarios name, with charts of fit against data.
    Fit(Fit),
    /// Write access logs with pseudonyms that share prefixes in place of addresses.
    Pseudonymise(Pseudonymise),
    /// Run scenarios and fail if an expectation in them is not met, or if they are worse than a baseline.
    Check(Check),
    /// Write what scenarios come to, to be committed and checked against.
    #[command(subcommand)]
    Baseline(BaselineCommand),
    /// Say what the second of two scenarios, results or baselines does otherwise than the first.
    Compare(Compare),
    /// Choose among strategies and values of their options.
    Advise(Advise),
    /// Run a scenario at every point of its `[sweep]`, in shards that can be interrupted.
    Sweep(Sweep),
    /// Say how many runs a sweep has, how long they take and how large the result is.
    Plan(Plan),
    /// Print a scenario with every default filled in.
    Explain(Explain),
    /// List balancers, presets or metrics.
    List(List),
    /// Replay recordings of the real programs, or drive the programs themselves, decision by decision.
    Conformance(Conformance),
}

/// What changes a scenario from the command line.
#[derive(Debug, Args)]
pub struct Overrides {
    /// Set a field of the scenario, such as `replications=40` or `strategy.0.balancer.nginx.ip_hash.max_fails=0`.
    /// Elements of lists go by number or name. May be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub set: Vec<String>,

    /// Seed of every random number, instead of the scenario's.
    #[arg(long)]
    pub seed: Option<u64>,
}

impl Overrides {
    /// All of them, as the scenario's parser wants them.
    pub fn collect(&self) -> evenkeel_sim::scenario::Overrides {
        let seed = self.seed.map(|seed| format!("seed={seed}"));
        evenkeel_sim::scenario::Overrides::new(self.set.iter().cloned().chain(seed))
    }
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The scenario file.
    pub scenario: PathBuf,

    /// What to do with it.
    #[command(flatten)]
    pub options: RunOptions,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// The logs.
    #[command(flatten)]
    pub log: LogArgs,

    /// The scenario whose cluster, faults and strategies are tried.
    #[arg(long, value_name = "FILE")]
    pub scenario: PathBuf,

    /// How many seconds of the log pass in one.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub speed: f64,

    /// Stop after the scenario's `duration` instead of at the end of the log.
    #[arg(long)]
    pub keep_duration: bool,

    /// What to do with it.
    #[command(flatten)]
    pub options: RunOptions,
}

/// Arguments of `fit`.
#[derive(Debug, Args)]
pub struct Fit {
    /// The logs.
    #[command(flatten)]
    pub log: LogArgs,

    /// The population file to write; users and charts go beside it.
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Arguments of `pseudonymise`.
#[derive(Debug, Args)]
pub struct Pseudonymise {
    /// The logs; `-` is standard input.
    #[arg(required = true, value_name = "LOG")]
    pub logs: Vec<PathBuf>,

    /// The file that holds the key: 64 hexadecimal digits.
    #[arg(long, value_name = "KEYFILE")]
    pub key: PathBuf,

    /// Format of the lines, as for `fit`; by default it is judged by the first lines.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// The log to write; by default standard output.
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// What to do with a scenario that is run.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// The result folder; an older result there is replaced. By default `results/` and the scenario's name.
    #[arg(short, long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,

    /// Print the summary as JSON instead of a table.
    #[arg(long)]
    pub json: bool,

    /// Tell N of each strategy's lost sessions as short stories.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub explain_losses: usize,

    /// Tell how fast it was and how much memory it took.
    #[arg(long)]
    pub stats: bool,

    /// Threads; by default one for each core. The result does not depend on it.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// Changes to the scenario.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Scenario files, or folders of them. By default `scenarios/` here or at the root of the git repository, or else this folder.
    #[arg(value_name = "FILE|FOLDER")]
    pub scenarios: Vec<PathBuf>,

    /// Hold the scenarios against this baseline, too.
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,

    /// Stop after the first scenario that fails.
    #[arg(long)]
    pub fail_fast: bool,

    /// A verdict that is still out after all replications does not fail.
    #[arg(long)]
    pub allow_inconclusive: bool,

    /// Replications at most while a verdict is out; by default four times the scenario's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_replications: Option<u32>,

    /// How to print the verdicts, and to which file: `human`, `json`, `github`, `junit` or `markdown`. May be repeated.
    #[arg(long, value_name = "FORMAT[=FILE]", value_parser = format_to)]
    pub format: Vec<FormatTo>,

    /// Print the verdicts as JSON: `--format json`.
    #[arg(long)]
    pub json: bool,

    /// Threads; by default one for each core. The result does not depend on it.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// Changes to the scenarios.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Arguments of `advise`.
#[derive(Debug, Args)]
pub struct Advise {
    /// The scenario file: its strategies at every value of the fields of its `[advise]` are the candidates.
    pub scenario: PathBuf,

    /// Draw the front into this folder.
    #[arg(short, long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,

    /// Try every candidate to the end.
    #[arg(long)]
    pub exhaustive: bool,

    /// Print every candidate as JSON.
    #[arg(long)]
    pub json: bool,

    /// Threads; by default one for each core. The result does not depend on it.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// Changes to the scenario.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub struct Compare {
    /// The reference: a scenario, a result folder, or a baseline of one scenario.
    pub first: PathBuf,

    /// What is held against it.
    pub second: PathBuf,

    /// A metric to compare, instead of the headlines and those of `[[expect]]`. May be repeated.
    #[arg(long, value_name = "NAME")]
    pub metric: Vec<String>,

    /// When to end with exit code 3.
    #[arg(long, value_enum)]
    pub fail_on: Option<FailOn>,

    /// Print the comparison as JSON.
    #[arg(long)]
    pub json: bool,

    /// Threads; by default one for each core. The result does not depend on it.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// Changes to both scenarios.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// What is a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum FailOn {
    /// Something is worse.
    Regression,
}

/// What a sweep goes over.
#[derive(Debug, Args)]
pub struct SweepInput {
    /// The scenario file.
    pub scenario: PathBuf,

    /// Another field of the grid and its values, such as `population.homes.clients=[1000, 2000]`. May be repeated.
    #[arg(long, value_name = "FIELD=[VALUE, ...]")]
    pub grid: Vec<String>,

    /// Changes to the scenario.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Arguments of `sweep`.
#[derive(Debug, Args)]
pub struct Sweep {
    /// What it goes over.
    #[command(flatten)]
    pub input: SweepInput,

    /// Carry out the i-th of n shards only, i from 0; put them together with `--merge`.
    #[arg(long, value_name = "i/n")]
    pub shard: Option<evenkeel_reports::sweep::Shard>,

    /// Go on with what an earlier attempt has done.
    #[arg(long)]
    pub resume: bool,

    /// Put the parts of all shards together.
    #[arg(long, conflicts_with_all = ["shard", "resume"])]
    pub merge: bool,

    /// The folder of the parts and the result. By default `results/` and the scenario's name with `-sweep`.
    #[arg(short, long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,

    /// Threads; by default one for each core. The result does not depend on it.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// What it goes over.
    #[command(flatten)]
    pub input: SweepInput,

    /// Threads that the sweep would have; by default one for each core.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// How verdicts are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum CheckFormat {
    /// Tables for people.
    Human,
    /// JSON.
    Json,
    /// GitHub's workflow commands.
    Github,
    /// JUnit XML.
    Junit,
    /// Markdown.
    Markdown,
}

/// A format, and where it goes; standard output without a file.
#[derive(Clone, Debug)]
pub struct FormatTo {
    /// How.
    pub format: CheckFormat,
    /// Where.
    pub path: Option<PathBuf>,
}

fn format_to(text: &str) -> Result<FormatTo, String> {
    let (name, path) = match text.split_once('=') {
        Some((name, path)) if path != "-" => (name, Some(PathBuf::from(path))),
        Some((name, _)) => (name, None),
        None => (text, None),
    };
    Ok(FormatTo { format: CheckFormat::from_str(name, false)?, path })
}

/// What to do with baselines.
#[derive(Debug, Subcommand)]
pub enum BaselineCommand {
    /// Run scenarios and write what they come to.
    Write(BaselineWrite),
}

/// Arguments of `baseline write`.
#[derive(Debug, Args)]
pub struct BaselineWrite {
    /// Scenario files, or folders of them; by default the same as for `check`.
    #[arg(value_name = "FILE|FOLDER")]
    pub scenarios: Vec<PathBuf>,

    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,

    /// A metric to keep, instead of the headlines and those of `[[expect]]`. May be repeated.
    #[arg(long, value_name = "NAME")]
    pub metric: Vec<String>,

    /// How much worse each value may become, in per cent of it; 5 by default. Single values can be edited in the file.
    #[arg(long, value_name = "PERCENT")]
    pub tolerance: Option<f64>,

    /// Threads; by default one for each core. The result does not depend on it.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// Changes to the scenarios.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// The scenario file.
    pub scenario: PathBuf,

    /// Changes to the scenario.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct List {
    /// What to list; everything by default.
    #[arg(value_enum)]
    pub what: Option<Listing>,

    /// Print it as JSON.
    #[arg(long)]
    pub json: bool,

    /// Print the reference page of balancers, presets or stores, with options and parameters, as Markdown.
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
}

/// What can be listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Listing {
    /// Balancing algorithms.
    Balancers,
    /// What a tier can have beside a balancer.
    Tiers,
    /// Presets of populations.
    Presets,
    /// Places where sessions can live.
    Stores,
    /// Metrics, with unit and direction.
    Metrics,
}

/// Arguments of `conformance`.
#[derive(Debug, Args)]
pub struct Conformance {
    /// Recorded cases: their folders, `.tar.zst` archives of them, or folders of either.
    #[arg(required_unless_present = "live", value_name = "DIR")]
    pub recordings: Vec<PathBuf>,

    /// Print every case as JSON.
    #[arg(long)]
    pub json: bool,

    /// Drive the real nginx and HAProxy on loopback with random cases, where they are installed.
    #[arg(long)]
    pub live: bool,

    /// Live: this program only.
    #[arg(long, value_enum, requires = "live")]
    pub program: Option<LiveProgram>,

    /// Live: seed of the cases; by default another one each time. It is printed.
    #[arg(long, requires = "live")]
    pub seed: Option<u64>,

    /// Live: cases of each program.
    #[arg(long, value_name = "N", requires = "live", default_value_t = 60)]
    pub cases: u64,

    /// Live: where cases in which program and model differ are written, a folder each.
    #[arg(short, long, value_name = "DIR", requires = "live", default_value = "conformance-live")]
    pub out: PathBuf,

    /// Live: a program that is not installed is a failure.
    #[arg(long, requires = "live")]
    pub require: bool,
}

/// Programs that can be driven.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LiveProgram {
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
    /// Redis: the order of evictions.
    Redis,
    /// memcached: classes of chunks, and which items are evicted.
    Memcached,
    /// libmemcached: the nodes of keys.
    Libmemcached,
}
