//! The words behind `balance`.

use super::HaproxyMethod;
use super::hash::Hash;
use super::hdr::Hdr;
use super::lookup::HashOptions;
use super::random::Random;
use super::rdp_cookie::RdpCookie;
use super::source::Source;
use super::uri::{Uri, UriPart};
use super::url_param::UrlParam;

/// Why HAProxy would not accept a `balance`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BalanceError {
    /// No algorithm of that name.
    #[error("no balancer for `{name}`")]
    UnknownAlgorithm {
        /// The name, as written.
        name: String,
    },
    /// An argument that the algorithm does not have, or a bad value.
    #[error("`balance {algorithm}` does not take `{argument}`")]
    Argument {
        /// The algorithm.
        algorithm: String,
        /// The argument, as written.
        argument: String,
    },
}

impl HaproxyMethod {
    /// The algorithm of a line `balance …`, given without that word, under the backend's hash options and in a process with
    /// so many threads.
    ///
    /// # Errors
    /// If there is no such algorithm, or it does not take an argument.
    pub fn configure(balance: &str, options: HashOptions, threads: u16) -> Result<Self, BalanceError> {
        let mut words = balance.split_whitespace();
        let word = words.next().unwrap_or_default();
        let (name, parameter) = match word.split_once('(') {
            Some((name, rest)) => (name, Some(rest.strip_suffix(')').unwrap_or(rest))),
            None => (word, None),
        };
        let refuse = |argument: &str| BalanceError::Argument {
            algorithm: name.to_owned(),
            argument: argument.to_owned(),
        };
        let method = match name {
            "source" => Self::Source(Source::new(options)),
            "uri" => Self::Uri(Uri::new(options, uri_part(&mut words, refuse)?)),
            "url_param" => {
                let name = words.next().ok_or_else(|| refuse(""))?;
                // `check_post` and its limit say where the parameter is looked for, which is no part of the algorithm.
                if words.next().is_some_and(|word| word != "check_post") {
                    return Err(refuse(balance));
                }
                words.by_ref().for_each(drop);
                Self::UrlParam(UrlParam::new(options, name))
            }
            "hdr" => {
                let use_domain_only = match words.next() {
                    None => false,
                    Some("use_domain_only") => true,
                    Some(other) => return Err(refuse(other)),
                };
                Self::Hdr(Hdr::new(options, use_domain_only))
            }
            "rdp-cookie" => Self::RdpCookie(RdpCookie::new(options)),
            "hash" => {
                words.by_ref().for_each(drop);
                Self::Hash(Hash::new(options))
            }
            "random" => {
                let draws = match parameter {
                    None => 2,
                    Some(draws) => draws.parse().ok().filter(|&n| n > 0).ok_or_else(|| refuse(draws))?,
                };
                Self::Random(Random::new(options, draws, threads.max(1)))
            }
            _ => {
                Self::by_name(name).ok_or_else(|| BalanceError::UnknownAlgorithm { name: name.to_owned() })?
            }
        };
        match words.next() {
            None => Ok(method),
            Some(other) => Err(refuse(other)),
        }
    }
}

fn uri_part<'a>(
    words: &mut impl Iterator<Item = &'a str>,
    refuse: impl Fn(&str) -> BalanceError,
) -> Result<UriPart, BalanceError> {
    let mut part = UriPart::default();
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|number| number.parse().ok()).ok_or_else(|| refuse(word));
        match word {
            "whole" => part.whole = true,
            "path-only" => part.path_only = true,
            "len" => part.len = Some(number()?),
            "depth" => part.depth = Some(number()?),
            other => return Err(refuse(other)),
        }
    }
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configure(balance: &str) -> Result<HaproxyMethod, BalanceError> {
        HaproxyMethod::configure(balance, HashOptions::default(), 1)
    }

    #[test]
    fn every_algorithm_is_configured_by_its_own_name() {
        for entry in HaproxyMethod::ENTRIES {
            let balance = match entry.name {
                "url_param" => "url_param uid",
                "hash" => "hash path",
                name => name,
            };
            assert_eq!(configure(balance).expect(balance).name(), entry.name);
        }
    }

    #[test]
    fn arguments_that_haproxy_refuses_are_refused() {
        for balance in ["roundrobin 3", "uri deep", "uri len x", "random(0)", "hdr(a) whole", "url_param", ""]
        {
            assert!(configure(balance).is_err(), "{balance}");
        }
        assert_eq!(configure("leastcon").expect_err("unknown").to_string(), "no balancer for `leastcon`");
        for balance in
            ["uri whole len 14 depth 2", "random(3)", "rdp-cookie(mstshash)", "url_param u check_post 64"]
        {
            assert!(configure(balance).is_ok(), "{balance}");
        }
    }
}
