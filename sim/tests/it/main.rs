//! Tests of the library as its users see it.

mod accounting;
mod catalogue;
mod common_random_numbers;
mod conformance;
mod exercise;
mod instances;
mod modern;
mod queues;
mod replay;
mod scenario;
mod stores;
mod support;
mod theory;
mod tidy;
