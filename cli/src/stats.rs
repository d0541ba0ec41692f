//! How fast a run was and how much memory it took.

use std::time::Duration;

use evenkeel_sim::cluster::RunSizes;

/// The lines of `--stats`.
pub fn lines(sizes: &[RunSizes], wall: Duration, threads: usize) -> Vec<String> {
    let seconds = wall.as_secs_f64().max(1e-9);
    let (events, requests) =
        sizes.iter().fold((0, 0), |(events, requests), run| (events + run.events, requests + run.requests));
    let mut lines = vec![
        format!(
            "{} runs in {seconds:.2} s on {threads} threads: {} requests ({}/s), {} events ({}/s)",
            sizes.len(),
            grouped(requests),
            grouped((requests as f64 / seconds) as u64),
            grouped(events),
            grouped((events as f64 / seconds) as u64),
        ),
        match peak_memory() {
            Some(bytes) => format!("peak memory of the process: {}", bytes_in_words(bytes)),
            None => "peak memory of the process: not known on this system".to_owned(),
        },
    ];
    if let Some(run) = sizes.iter().max_by_key(|run| run.client_bytes) {
        let each = |what: &str, count: u64, bytes: u64| {
            let per = if count == 0 { 0.0 } else { bytes as f64 / count as f64 };
            format!("  {what}: {} ({}, {per:.0} bytes each)", grouped(count), bytes_in_words(bytes))
        };
        lines.push("tables of the largest run (clients, templates and pending events at its end, others most at a time):".to_owned());
        lines.push(each("clients", run.clients, run.client_bytes));
        lines.push(each("pending events", run.pending, run.pending_bytes));
        lines.push(each("connections", run.connections, run.connection_bytes));
        lines.push(each("requests in flight", run.requests_in_flight, run.request_bytes));
        lines.push(each("browsers with more open than a connection", run.tabs, run.tab_bytes));
        lines.push(each("persistence templates", run.templates, run.balancer_bytes));
        lines.push(each("sessions", run.sessions, run.session_bytes));
    }
    lines
}

/// The most memory that the process has held \[bytes\], where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn bytes_in_words(bytes: u64) -> String {
    if bytes < 1 << 20 {
        format!("{:.1} KiB", bytes as f64 / 1024.0)
    } else {
        format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
    }
}

/// A number with spaces between its thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1 000"), (12_345_678, "12 345 678")] {
            assert_eq!(grouped(number), text);
        }
    }
}
