//! `case.json`, and what it says in the words of `haproxy.cfg`, for cases without that file.

use serde::Deserialize;

/// `case.json`. What a case does not say is as in an HAProxy without the directive.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    balance: String,
    #[serde(default)]
    hash_type: String,
    #[serde(default)]
    hash_function: String,
    #[serde(default)]
    hash_avalanche: bool,
    #[serde(default)]
    hash_balance_factor: u32,
    servers: Vec<ServerOptions>,
    #[serde(default)]
    pub(super) options: Options,
    /// Rows `open` of a whole recording.
    pub(super) requests: Option<u64>,
    /// What the key column holds, in words.
    #[serde(default)]
    pub(super) key_is: String,
}

#[derive(Debug, Deserialize)]
struct ServerOptions {
    name: String,
    id: Option<u32>,
    weight: Option<u32>,
    #[serde(default)]
    backup: bool,
    cookie: Option<String>,
    maxconn: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Options {
    #[serde(default)]
    redispatch: Redispatch,
    retries: Option<u32>,
    cookie: Option<String>,
    stick_table: Option<String>,
    #[serde(default)]
    stick: Vec<String>,
    pub(super) check: Option<CheckOptions>,
    #[serde(default)]
    allbackups: bool,
    #[serde(default)]
    persist: bool,
    ignore_persist: Option<String>,
    force_persist: Option<String>,
    timeout_connect: Option<String>,
    timeout_server: Option<String>,
    #[serde(default)]
    lines: Vec<String>,
}

/// `true` without a number, or the number.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Redispatch {
    Whether(bool),
    Every(i32),
}

impl Default for Redispatch {
    fn default() -> Self {
        Self::Whether(false)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct CheckOptions {
    inter_ms: u64,
    fall: u32,
    rise: u32,
    #[serde(default)]
    extra: String,
    #[serde(default)]
    httpchk: bool,
}

impl Manifest {
    /// What it says, as `haproxy.cfg` would.
    pub(super) fn as_directives(&self) -> Vec<String> {
        let options = &self.options;
        let mut lines = vec![format!("balance {}", self.balance)];
        if !self.hash_type.is_empty() {
            let avalanche = if self.hash_avalanche { "avalanche" } else { "" };
            lines.push(format!("hash-type {} {} {avalanche}", self.hash_type, self.hash_function));
        }
        if self.hash_balance_factor != 0 {
            lines.push(format!("hash-balance-factor {}", self.hash_balance_factor));
        }
        match options.redispatch {
            Redispatch::Whether(true) => lines.push("option redispatch".into()),
            Redispatch::Whether(false) => {}
            Redispatch::Every(number) => lines.push(format!("option redispatch {number}")),
        }
        let texts = [
            ("cookie", &options.cookie),
            ("stick-table", &options.stick_table),
            ("ignore-persist if", &options.ignore_persist),
            ("force-persist if", &options.force_persist),
            ("timeout connect", &options.timeout_connect),
            ("timeout server", &options.timeout_server),
        ];
        let texts = texts.into_iter().filter_map(|(word, text)| Some((word, text.as_ref()?)));
        lines.extend(texts.map(|(word, text)| format!("{word} {text}")));
        lines.extend(options.retries.map(|retries| format!("retries {retries}")));
        lines.extend(options.stick.iter().chain(&options.lines).cloned());
        let httpchk = options.check.as_ref().is_some_and(|check| check.httpchk);
        let flags = [("allbackups", options.allbackups), ("persist", options.persist), ("httpchk", httpchk)];
        lines.extend(flags.iter().filter(|(_, set)| *set).map(|(flag, _)| format!("option {flag}")));
        for server in &self.servers {
            let mut line = format!("server {} -", server.name);
            let mut add = |word: &str, value: Option<String>| {
                if let Some(value) = value {
                    line.push_str(&format!(" {word} {value}"));
                }
            };
            add("id", server.id.map(|id| id.to_string()));
            add("weight", server.weight.map(|weight| weight.to_string()));
            add("maxconn", server.maxconn.map(|maxconn| maxconn.to_string()));
            add("cookie", server.cookie.clone());
            add("backup", server.backup.then(String::new));
            add(
                "check",
                options.check.as_ref().map(|check| {
                    format!(
                        "inter {} fall {} rise {} {}",
                        check.inter_ms, check.fall, check.rise, check.extra
                    )
                }),
            );
            lines.push(line);
        }
        lines
    }
}
