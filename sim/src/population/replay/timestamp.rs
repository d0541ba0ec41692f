//! The time of a log line, in the forms that servers write:
//!
//! - `20/Feb/2016:00:00:45 -0500`: Apache's `%t`, nginx's `$time_local` (Apache httpd 2.4 `mod_log_config`, "%t"; nginx 1.22.1
//!   `ngx_times.c`, `ngx_time_update`), HAProxy's with a fraction and no offset;
//! - `2016-02-20T00:00:45-05:00`: ISO 8601 (RFC 3339), with a space or slashes as well;
//! - `1455944445.123`: seconds since the epoch, or milli-, micro- or nanoseconds, told apart by their size.
//!
//! A time without an offset is taken for UTC.

use super::parse::LineFault;

const SECONDS_PER_DAY: i64 = 86_400;

/// A second since the Unix epoch, in UTC, and the nanoseconds after it if the text has a fraction.
pub(super) type Instant = (u32, Option<u32>);

/// Reads a time in any of the forms.
///
/// # Errors
/// [`LineFault::Time`] if it is not a time (the 30th of February is none), [`LineFault::TimeRange`] if it lies
/// outside the 32-bit seconds of a record.
#[inline]
pub(super) fn parse_time(text: &[u8]) -> Result<Instant, LineFault> {
    match text {
        [_, _, b'/', ..] => calendar(text, Order::DayFirst),
        [_, _, _, _, b'-' | b'/', ..] => calendar(text, Order::YearFirst),
        _ => epoch(text),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// `20/Feb/2016:`
    DayFirst,
    /// `2016-02-20T`
    YearFirst,
}

fn calendar(text: &[u8], order: Order) -> Result<Instant, LineFault> {
    let number =
        |from: usize, length: usize| text.get(from..from + length).and_then(digits).ok_or(LineFault::Time);
    let is = |at: usize, bytes: &[u8]| text.get(at).is_some_and(|byte| bytes.contains(byte));
    let (year, month, day, clock) = match order {
        Order::DayFirst => {
            let month = text.get(3..6).and_then(month_number).ok_or(LineFault::Time)?;
            if !(is(6, b"/") && is(11, b":")) {
                return Err(LineFault::Time);
            }
            (number(7, 4)?, month, number(0, 2)?, 12)
        }
        Order::YearFirst => {
            if !(is(7, &text[4..5]) && is(10, b"T t\t")) {
                return Err(LineFault::Time);
            }
            (number(0, 4)?, number(5, 2)?, number(8, 2)?, 11)
        }
    };
    if !(is(clock + 2, b":") && is(clock + 5, b":")) {
        return Err(LineFault::Time);
    }
    let (hour, minute, second) = (number(clock, 2)?, number(clock + 3, 2)?, number(clock + 6, 2)?);
    let rest = &text[clock + 8..];
    let (nanos, rest) = fraction(rest)?;
    let offset = offset_seconds(rest).ok_or(LineFault::Time)?;
    // A leap second is written as 60 by `strftime` and counts as the first second of the next minute.
    let plausible = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !plausible {
        return Err(LineFault::Time);
    }
    let local = days_since_epoch(year, month, day) * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second;
    Ok((u32::try_from(local - offset).map_err(|_| LineFault::TimeRange)?, nanos))
}

/// A point or comma and digits, as nanoseconds, and what follows.
fn fraction(text: &[u8]) -> Result<(Option<u32>, &[u8]), LineFault> {
    let [b'.' | b',', after @ ..] = text else { return Ok((None, text)) };
    let length = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return Err(LineFault::Time);
    }
    let nanos = after[..length]
        .iter()
        .chain([b'0'; 9].iter())
        .take(9)
        .fold(0, |value, byte| value * 10 + u32::from(byte - b'0'));
    Ok((Some(nanos), &after[length..]))
}

/// Seconds east of Greenwich: nothing, `Z`, `UTC`, `-0500`, `-05:00` or `-05`, perhaps after a space.
fn offset_seconds(text: &[u8]) -> Option<i64> {
    let (sign, after) = match text.strip_prefix(b" ").unwrap_or(text) {
        b"" | b"Z" | b"z" | b"UTC" | b"GMT" => return Some(0),
        [b'+', after @ ..] => (1, after),
        [b'-', after @ ..] => (-1, after),
        _ => return None,
    };
    let (hours, minutes) = match after.len() {
        2 => (after, &b"00"[..]),
        4 => after.split_at(2),
        5 if after[2] == b':' => (&after[..2], &after[3..]),
        _ => return None,
    };
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// A number of seconds; from 10^11 on it counts milliseconds, from 10^14 microseconds, from 10^17 nanoseconds (10^11 seconds
/// are the year 5138).
fn epoch(text: &[u8]) -> Result<Instant, LineFault> {
    let whole = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (nanos, rest) = fraction(&text[whole..])?;
    if !(1..=19).contains(&whole) || !rest.is_empty() {
        return Err(LineFault::Time);
    }
    let number = digits(&text[..whole]).ok_or(LineFault::Time)?;
    let per_second = match number {
        0..100_000_000_000 => {
            return Ok((u32::try_from(number).map_err(|_| LineFault::TimeRange)?, nanos));
        }
        100_000_000_000..100_000_000_000_000 => 1_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000_000,
        _ => 1_000_000_000,
    };
    let second = u32::try_from(number / per_second).map_err(|_| LineFault::TimeRange)?;
    Ok((second, Some((number % per_second * (1_000_000_000 / per_second)) as u32)))
}

/// The second since the Unix epoch that `text` names in any of the forms of log lines, as scenarios write it.
pub fn parse_second(text: &str) -> Option<u32> {
    parse_time(text.as_bytes()).ok().map(|(second, _)| second)
}

/// `2016-02-20T05:00:45Z`, which [`parse_second`] reads.
pub fn show_second(second: u32) -> String {
    format_time(second).replacen(' ', "T", 1).replace(" UTC", "Z")
}

/// `2016-02-20 05:00:45 UTC`, for reports.
pub(super) fn format_time(second: u32) -> String {
    let (days, rest) = (i64::from(second) / SECONDS_PER_DAY, second % 86_400);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute) = (rest / 3_600, rest / 60 % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02} UTC", rest % 60)
}

/// The number that all-digit `text` spells.
fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

/// 1 for `Jan`. Servers write English names whatever the locale.
fn month_number(name: &[u8]) -> Option<i64> {
    Some(match name {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    })
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1 January 1970 in the Gregorian calendar, for years from 0 (Howard Hinnant, "chrono-Compatible
/// Low-Level Date Algorithms", `days_from_civil`: years begin in March, so that the leap day comes last).
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a day since 1 January 1970 (the same source, `civil_from_days`).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<u32, LineFault> {
        parse_time(text.as_bytes()).map(|(second, _)| second)
    }

    #[test]
    fn every_form_gives_its_second_and_its_fraction() {
        for (text, nanos) in [
            ("20/Feb/2016:05:00:45.250", Some(250_000_000)),
            ("2016-02-20T00:00:45-05:00", None),
            ("2016-02-20T05:00:45.1Z", Some(100_000_000)),
            ("2016-02-20 05:00:45,123456789123 +00", Some(123_456_789)),
            ("2016/02/20 05:00:45", None),
            ("1455944445", None),
            ("1455944445.000000", Some(0)),
            ("1455944445007", Some(7_000_000)),
            ("1455944445000007", Some(7_000)),
            ("1455944445000000007", Some(7)),
        ] {
            assert_eq!(parse_time(text.as_bytes()), Ok((1_455_944_445, nanos)), "{text}");
        }
    }

    #[test]
    fn the_utc_offset_is_applied() {
        // Expected values from `date -u -d @N`.
        for (text, second) in [
            ("01/Jan/1970:00:00:00 +0000", 0),
            ("20/Feb/2016:00:00:45 -0500", 1_455_944_445),
            ("20/Feb/2016:05:00:45 +0000", 1_455_944_445),
            ("20/Feb/2016:10:30:45 +0530", 1_455_944_445),
            ("29/Feb/2000:23:59:60 +0000", 951_868_800),
            ("07/Feb/2106:06:28:15 +0000", u32::MAX),
        ] {
            assert_eq!(parse(text), Ok(second), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "30/Feb/2016:00:00:45 -0500",
            "29/Feb/1900:00:00:00 +0000",
            "00/Jan/2016:00:00:00 +0000",
            "20/feb/2016:00:00:45 -0500",
            "20/Feb/2016:24:00:00 -0500",
            "20/Feb/2016:00:60:00 -0500",
            "20/Feb/2016:00:00:61 -0500",
            "20/Feb/2016:00:00:45 00500",
            "20/Feb/2016 00:00:45 -0500",
            "2x/Feb/2016:00:00:45 -0500",
            "2016-02-20",
            "2016-02-20T05:00:45X",
            "2016-02-20T05:00:45.Z",
            "2016-02/20T05:00:45Z",
            "2016-13-20T05:00:45Z",
            "20/Feb/2016:00:00",
            "1455944445.",
            "14559444450000000070",
            "12:00",
            "",
        ] {
            assert_eq!(parse(text), Err(LineFault::Time), "{text}");
        }
    }

    #[test]
    fn times_beyond_32_bits_are_out_of_range() {
        for text in [
            "01/Jan/1970:00:00:00 +0100",
            "07/Feb/2106:06:28:16 +0000",
            "01/Jan/0000:00:00:00 +0000",
            "4294967296",
        ] {
            assert_eq!(parse(text), Err(LineFault::TimeRange), "{text}");
        }
    }

    #[test]
    fn printed_times_are_read_back_over_the_whole_range() {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        // A step coprime to the day's length visits all times of day and, over 136 years, all days of the year.
        for second in (0..=u32::MAX).step_by(86_399 * 3) {
            let printed = format_time(second);
            let month: usize = printed[5..7].parse().expect("a month");
            let log = format!(
                "{}/{}/{}:{} +0000",
                &printed[8..10],
                MONTHS[month - 1],
                &printed[..4],
                &printed[11..19]
            );
            assert_eq!(parse(&log), Ok(second), "{printed}");
            assert_eq!(parse_second(&show_second(second)), Some(second), "{printed}");
        }
    }
}
