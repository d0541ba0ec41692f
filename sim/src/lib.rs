//! Evenkeel's simulator: how uneven does the load of a web cluster get, and who gets logged out?
//!
//! A library user needs three steps: [`scenario::load`] reads a file, [`experiment::prepare_logs`] the access logs that it
//! names, and [`experiment::carry_out`] runs every strategy in every replication and gives an
//! [`experiment::summary::Summary`], plain data that is the same for the same scenario and seed.
//!
//! ```
//! use evenkeel_sim::{experiment, scenario};
//!
//! let text = r#"
//!     title = "two servers"
//!     duration = "1min"
//!     replications = 2
//!
//!     [[population]]
//!     name = "anyone"
//!     clients = 100
//!     address = { preset = "direct" }
//!     arrivals = { poisson = { rate = 50.0 } }
//!
//!     [cluster]
//!     servers = [{ name = "a", address = "10.0.0.1:80" }, { name = "b", address = "10.0.0.2:80" }]
//!     capacity = { workers = 8, service = "10ms" }
//!
//!     [[strategy]]
//!     name = "round robin"
//!     balancer = { nginx.round_robin = {} }
//!     session = { local = {} }
//! "#;
//! let folder = std::path::Path::new(".");
//! let loaded = scenario::parse("two.toml", text, &scenario::Overrides::default()).expect("no mistakes");
//! let logs = experiment::prepare_logs(&loaded.scenario, folder, &|_share| {}).expect("no logs are named");
//! let found = experiment::carry_out(&loaded, &logs, 0, &|_share| {}).expect("the accounts balance");
//! let skew = found.summary.strategies[0].metrics.iter().find(|it| it.metric == "load.requests.peak_to_mean");
//! assert!(skew.and_then(|it| it.value).expect("there were requests").mean < 1.01);
//! ```
//!
//! # The parts
//!
//! From the ground up:
//!
//! | modules | what |
//! |---|---|
//! | [`engine`], [`ids`], [`table`] | time, pending events, random numbers, distributions; nothing about the web |
//! | [`metrics`], [`population`], [`backend`] | counters and measures; clients, addresses, access logs; servers |
//! | [`health`], [`balancer`], [`store`], [`session`] | who counts as dead; who is chosen; where sessions live, and what becomes of them |
//! | [`failover`], [`tier`] | who takes over from a director that dies; one nginx, HAProxy or IPVS director, driven by inputs alone |
//! | [`conformance`], [`scenario`] | recordings replayed through tiers; scenario files |
//! | [`cluster`] | the model of one run, where all parts meet |
//! | [`experiment`] | strategies and replications, intervals, the gate, sweeps, advice, what is reported |
//!
//! A tier instance can be driven without the simulation: build a [`tier::Nginx`] or a [`tier::Lvs`], open flows, tell it how
//! tries ended, and read its decisions.

pub mod backend;
pub mod balancer;
pub mod cluster;
pub mod conformance;
pub mod engine;
pub mod experiment;
pub mod failover;
pub mod health;
pub mod ids;
pub mod metrics;
pub mod population;
pub mod scenario;
pub mod session;
mod slots;
pub mod store;
pub mod table;
pub mod tier;
