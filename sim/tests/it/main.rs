//! Tests of the library as its users see it.

mod accounting;
mod addresses;
mod advise;
mod catalogue;
mod common_random_numbers;
mod conformance;
mod exercise;
mod experiments;
mod fitted;
mod gate;
mod instances;
mod modern;
mod operations;
mod other_logs;
mod queues;
mod replay;
mod scenario;
mod statistics;
mod stores;
mod support;
mod theory;
mod tidy;
mod tiers;
mod traffic;
mod vrrp;
