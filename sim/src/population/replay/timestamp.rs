//! The time of a log line: `20/Feb/2016:00:00:45 -0500`, as Apache's `%t` and nginx's `$time_local` write it
//! (Apache httpd 2.4 `mod_log_config`, "%t"; nginx 1.22.1 `ngx_times.c`, `ngx_time_update`).

use super::parse::LineFault;

/// Bytes of a time without its brackets.
pub(super) const TIME_BYTES: usize = 26;

const SECONDS_PER_DAY: i64 = 86_400;

/// Seconds since the Unix epoch, in UTC, of a time in log spelling.
///
/// # Errors
/// [`LineFault::Time`] if it is not a time (the 30th of February is none), [`LineFault::TimeRange`] if it lies
/// outside the 32-bit seconds of a record.
pub(super) fn parse_time(text: &[u8; TIME_BYTES]) -> Result<u32, LineFault> {
    let separators = [(2, b'/'), (6, b'/'), (11, b':'), (14, b':'), (17, b':'), (20, b' ')];
    if separators.iter().any(|&(at, byte)| text[at] != byte) {
        return Err(LineFault::Time);
    }
    let two = |at: usize| digits(&text[at..at + 2]);
    let number = |value: Option<i64>| value.ok_or(LineFault::Time);

    let day = number(two(0))?;
    let month = number(month_number([text[3], text[4], text[5]]))?;
    let year = number(digits(&text[7..11]))?;
    let (hour, minute, second) = (number(two(12))?, number(two(15))?, number(two(18))?);
    let (offset_hours, offset_minutes) = (number(two(22))?, number(two(24))?);
    let sign = match text[21] {
        b'+' => 1,
        b'-' => -1,
        _ => return Err(LineFault::Time),
    };
    // A leap second is written as 60 by `strftime` and counts as the first second of the next minute.
    let plausible = (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && offset_hours < 24
        && offset_minutes < 60;
    if !plausible {
        return Err(LineFault::Time);
    }
    let local = days_since_epoch(year, month, day) * SECONDS_PER_DAY + hour * 3_600 + minute * 60 + second;
    let offset = sign * (offset_hours * 3_600 + offset_minutes * 60);
    u32::try_from(local - offset).map_err(|_| LineFault::TimeRange)
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

/// 1 for `Jan`. Both programs write English names whatever the locale.
fn month_number(name: [u8; 3]) -> Option<i64> {
    Some(match &name {
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
        parse_time(text.as_bytes().try_into().expect("a time has 26 bytes"))
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
        ] {
            assert_eq!(parse(text), Err(LineFault::Time), "{text}");
        }
    }

    #[test]
    fn times_beyond_32_bits_are_out_of_range() {
        for text in ["01/Jan/1970:00:00:00 +0100", "07/Feb/2106:06:28:16 +0000", "01/Jan/0000:00:00:00 +0000"]
        {
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
        }
    }
}
