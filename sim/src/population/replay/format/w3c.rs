//! The W3C extended log file format (working draft WD-logfile-960323), which IIS and CloudFront write: a line `#Fields: date time c-ip …`
//! names the fields of those that follow.

use super::Field;
use super::template::{Template, Variable};
use crate::population::replay::service::TimeUnit;

/// What the line that names the fields begins with.
pub(super) const FIELDS: &str = "#Fields:";

/// The format that `line`, which begins with [`FIELDS`], announces; fields are parted by spaces, or by tabs.
pub(super) fn template(line: &str, tabs: bool) -> Result<Template, String> {
    let names: Vec<&str> = line.strip_prefix(FIELDS).unwrap_or(line).split_whitespace().collect();
    // IIS counts milliseconds where the draft has seconds.
    let taken = if names.contains(&"sc-win32-status") { TimeUnit::Millis } else { TimeUnit::Seconds };
    let mut fields: Vec<(Variable, &str, usize)> = Vec::new();
    let mut rest = &names[..];
    while let [name, after @ ..] = rest {
        rest = after;
        match (name.to_ascii_lowercase().as_str(), after) {
            ("date", ["time", after @ ..]) => {
                rest = after;
                fields.push((Variable::Field(Field::Time), name, 1));
            }
            (lower, _) => fields.push((variable(lower, taken), name, 0)),
        }
    }
    Template::of_fields(&fields, if tabs { "\t" } else { " " }).map_err(|_| {
        format!("`{FIELDS}` must name `c-ip` and, side by side, `date` and `time`, as IIS can be told to log")
    })
}

fn variable(name: &str, taken: TimeUnit) -> Variable {
    Variable::Field(match name {
        "c-ip" => Field::Address,
        "x-forwarded-for" | "cs(x-forwarded-for)" => Field::Forwarded,
        "cs-username" => Field::User,
        "cs-method" => Field::Method,
        "cs-uri-stem" | "cs-uri" => Field::Path,
        "sc-status" => Field::Status,
        "cs(user-agent)" => Field::Agent,
        "cs(cookie)" => return Variable::Cookies,
        "time-taken" => return Variable::Took(taken, false),
        _ => return Variable::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{LogFormat, SessionsBy};
    use crate::population::replay::parse::LogAddress;

    #[test]
    fn the_line_that_names_the_fields_is_a_format() {
        let iis = "#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) sc-status sc-win32-status time-taken";
        let format: LogFormat = iis.parse().unwrap_or_else(|error| panic!("{error}"));
        let mut parser = format.parser(&SessionsBy::User, false).expect("a user");
        let line =
            b"2016-02-20 00:00:45 10.0.0.1 GET /a.aspx id=7 80 ann 192.0.2.9 Mozilla/5.0+(X11) 200 0 15\r\n";
        let read = parser.parse(line).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read.address, LogAddress::Ip("192.0.2.9".parse().expect("an address")));
        assert_eq!((read.time, read.status, read.user), (1_455_926_445, 200, Some(&b"ann"[..])));
        assert_eq!((read.path, read.agent), (Some(&b"/a.aspx"[..]), Some(&b"Mozilla/5.0+(X11)"[..])));
        assert_eq!(read.took.map(|took| took.micros), Some(15_000));
    }

    #[test]
    fn fields_without_a_date_or_an_address_are_refused_with_the_remedy() {
        for text in ["#Fields: time c-ip", "#Fields: date time s-ip", "#Fields:"] {
            let error = text.parse::<LogFormat>().expect_err("no format").to_string();
            assert!(error.contains("must name `c-ip` and, side by side, `date` and `time`"), "{error}");
        }
    }
}
