//! Redis: keys of known age, time to live and use; memory that is made too small for them; and which of them go, in order.

use serde_json::json;

use super::{Connection, SOCKET, Stand, files, shuffled};
use crate::Fault;
use crate::dice::Dice;
use crate::process::Installed;
use crate::recording::Files;

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    policy: &'static str,
    keys: Vec<Key>,
}

#[derive(Clone, Copy, Debug)]
struct Key {
    bytes: u64,
    idle_s: u64,
    ttl_s: u64,
    uses: u64,
}

/// No two keys have the same age, time to live or number of uses, so there are no ties.
pub(crate) fn generate(dice: &mut Dice) -> Setup {
    const POLICIES: [&str; 6] =
        ["volatile-lru", "allkeys-lru", "volatile-lfu", "allkeys-lfu", "volatile-ttl", "noeviction"];
    let policy = *dice.pick(&POLICIES);
    let count = if policy == "noeviction" { dice.within(2, 8) } else { dice.within(10, 60) };
    // Beside such values the program's own buffers are nothing.
    let bytes = 1_000_000;
    let [ages, lives, uses] = [(); 3].map(|()| shuffled(dice, count));
    let key = |place: usize, dice: &mut Dice| Key {
        bytes: if policy == "noeviction" { bytes } else { dice.within(50, 3_000) },
        idle_s: 60 + 60 * ages[place],
        ttl_s: 10_000 + 60 * lives[place],
        uses: uses[place],
    };
    let keys = (0..count as usize).map(|place| key(place, dice)).collect();
    Setup { policy, keys }
}

/// An answer.
enum Answer {
    Text(Vec<u8>),
    List(Vec<Answer>),
    Nothing,
    Refusal(String),
}

impl Answer {
    fn text(self) -> Result<Vec<u8>, Fault> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Refusal(line) => Err(Fault::Log { line }),
            Self::List(_) | Self::Nothing => Err(Fault::Log { line: "an answer without a text".into() }),
        }
    }

    fn number(self) -> Result<u64, Fault> {
        let text = String::from_utf8_lossy(&self.text()?).into_owned();
        text.parse().map_err(|_| Fault::Log { line: text })
    }
}

/// Sends a command in the protocol's form (RESP 2).
fn send(client: &mut Connection, words: &[&[u8]]) -> Result<(), Fault> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes().chain(word.iter().copied()));
        bytes.extend(b"\r\n");
    }
    client.send(&bytes)
}

fn answer(client: &mut Connection) -> Result<Answer, Fault> {
    let line = client.line()?;
    let strange = || Fault::Log { line: line.clone() };
    let (kind, rest) = line.split_at_checked(1).ok_or_else(strange)?;
    let length = || rest.parse::<i64>().map_err(|_| strange());
    Ok(match kind {
        "+" | ":" => Answer::Text(rest.as_bytes().to_vec()),
        "-" => Answer::Refusal(rest.to_owned()),
        "$" => match usize::try_from(length()?) {
            Ok(length) => Answer::Text(client.bytes(length)?),
            Err(_) => Answer::Nothing,
        },
        "*" => Answer::List((0..length()?).map(|_| answer(client)).collect::<Result<_, _>>()?),
        _ => return Err(strange()),
    })
}

fn ask(client: &mut Connection, words: &[&[u8]]) -> Result<Answer, Fault> {
    send(client, words)?;
    answer(client)
}

fn say(client: &mut Connection, command: &str) -> Result<Answer, Fault> {
    let words: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
    ask(client, &words)
}

/// `used_memory`.
fn used(client: &mut Connection) -> Result<u64, Fault> {
    let text = String::from_utf8_lossy(&say(client, "INFO memory")?.text()?).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("used_memory:"));
    line.and_then(|number| number.trim().parse().ok()).ok_or(Fault::Log { line: text.clone() })
}

impl Setup {
    pub(crate) fn run(&self, installed: &Installed) -> Result<Files, Fault> {
        let arguments = [
            "--port",
            "0",
            "--unixsocket",
            SOCKET,
            "--save",
            "",
            "--lfu-log-factor",
            "0",
            "--lfu-decay-time",
            "0",
            "--maxmemory-samples",
            "64",
            "--maxmemory-policy",
            self.policy,
            "--notify-keyspace-events",
            "Ee",
        ];
        let mut stand = Stand::start(installed, &arguments)?;
        let mut client = stand.connect()?;
        let mut rows = Vec::new();
        for (place, key) in self.keys.iter().enumerate() {
            self.make(&mut client, place, key)?;
            let Key { bytes, idle_s, ttl_s, uses } = key;
            rows.push(format!("key,k{place},{bytes},{idle_s},{ttl_s},{uses},"));
        }
        if self.policy == "noeviction" {
            self.refusals(&mut client, &mut rows)?;
        } else {
            let mut watcher = stand.connect()?;
            say(&mut watcher, "PSUBSCRIBE __keyevent@*__:evicted")?;
            self.evict(&mut client, &mut watcher, &mut rows)?;
        }
        let manifest = json!({ "product": "redis", "version": installed.version, "method": self.policy });
        Ok(files(&manifest, "event,key,bytes,idle_s,ttl_s,uses,result", &rows))
    }

    fn make(&self, client: &mut Connection, place: usize, key: &Key) -> Result<(), Fault> {
        let name = format!("k{place}");
        say(client, &format!("SETRANGE {name} {} x", key.bytes - 1))?.text()?;
        let dump = ask(client, &[b"DUMP", name.as_bytes()])?.text()?;
        let (ttl, idle) = ((key.ttl_s * 1_000).to_string(), key.idle_s.to_string());
        let mut words = vec![b"RESTORE".as_slice(), name.as_bytes(), ttl.as_bytes(), &dump, b"REPLACE"];
        if self.policy.ends_with("lru") {
            words.extend([b"IDLETIME".as_slice(), idle.as_bytes()]);
        }
        ask(client, &words)?.text()?;
        if self.policy.ends_with("lfu") {
            for _ in 0..key.uses {
                say(client, &format!("STRLEN {name}"))?.number()?;
            }
        }
        Ok(())
    }

    /// Lowers the limit until half of the keys are gone, and notes these as the program says they go. More may go at once, since what
    /// it has to say takes memory as well; with few keys left in a large table its sample misses some.
    fn evict(
        &self,
        client: &mut Connection,
        watcher: &mut Connection,
        rows: &mut Vec<String>,
    ) -> Result<(), Fault> {
        let half = self.keys.len() as u64 / 2;
        while say(client, "DBSIZE")?.number()? > half {
            let limit = used(client)? - 1;
            say(client, &format!("CONFIG SET maxmemory {limit}"))?.text()?;
            say(client, "PING")?.text()?;
        }
        say(client, "CONFIG SET maxmemory 0")?.text()?;
        // What was told before comes before the answer.
        send(watcher, &[b"PING"])?;
        let end = rows.len() + half as usize;
        while let Answer::List(told) = answer(watcher)? {
            let last =
                told.into_iter().next_back().ok_or(Fault::Late { what: "the name of a key" })?.text()?;
            if last.is_empty() || rows.len() == end {
                break;
            }
            rows.push(format!("evicted,{},,,,,", String::from_utf8_lossy(&last)));
        }
        Ok(())
    }

    /// Room for half a value more than there is: one write is taken, then none until something is deleted.
    fn refusals(&self, client: &mut Connection, rows: &mut Vec<String>) -> Result<(), Fault> {
        let bytes = self.keys[0].bytes;
        let limit = used(client)? + bytes / 2;
        say(client, &format!("CONFIG SET maxmemory {limit}"))?.text()?;
        rows.push("limit,,,,,,".into());
        let set = |client: &mut Connection, rows: &mut Vec<String>, name: &str| -> Result<(), Fault> {
            let taken =
                !matches!(say(client, &format!("SETRANGE {name} {} x", bytes - 1))?, Answer::Refusal(_));
            rows.push(format!("set,{name},{bytes},,,,{}", if taken { "taken" } else { "refused" }));
            Ok(())
        };
        for name in ["m0", "m1", "m2"] {
            set(client, rows, name)?;
        }
        for key in 0..self.keys.len() {
            say(client, &format!("DEL k{key}"))?.number()?;
            rows.push(format!("delete,k{key},,,,,"));
            set(client, rows, &format!("n{key}"))?;
            set(client, rows, &format!("o{key}"))?;
        }
        for name in ["k0", "m0", "m1", "n0", "o0"] {
            let found = say(client, &format!("EXISTS {name}"))?.number()? == 1;
            rows.push(format!("get,{name},,,,,{}", if found { "found" } else { "gone" }));
        }
        Ok(())
    }
}
