//! Fail-over times of a VRRP pair against the RFCs' formulas: every row of the table, to the microsecond in which
//! keepalived counts.

use evenkeel_sim::engine::{SimDuration, SimTime};
use evenkeel_sim::failover::vrrp::{VrrpConfig, VrrpGroup, VrrpVersion};

use crate::support::Table;

/// keepalived cuts the skew to whole microseconds.
const MICROSECOND: f64 = 1e-6;

/// Adverts of the master are sent at whole intervals; a backup of lower priority has heard the last.
fn pair(version: VrrpVersion, advert_int: SimDuration, backup: u8) -> VrrpGroup {
    let config = |priority| VrrpConfig { version, advert_int, priority, ..VrrpConfig::default() };
    let mut group = VrrpGroup::new(vec![config(255), config(backup)], SimDuration::from_secs(38));
    group.settle(SimTime::ZERO, SimDuration::ZERO);
    group
}

/// From `event` until the backup holds the address.
fn takeover(group: &mut VrrpGroup, event: SimTime) -> f64 {
    while group.reached(group.next_due()) != Some(1) {}
    let taken = group.changes().last().expect("a change").at;
    taken.since(event).as_secs_f64()
}

#[test]
fn every_fail_over_takes_what_the_rfcs_say() {
    // Goal: shortest, longest and graceful take-over are those of RFC 3768 and RFC 5798. Method: crash the master at an
    // advert, and a nanosecond before the next one; stop it; compare with the table.
    let table = Table::read("vrrp_timing");
    let mut rows = 0;
    for (version, of_table) in [(VrrpVersion::V2, "2"), (VrrpVersion::V3, "3")] {
        for advert in ["0.1", "0.5", "1", "2", "3"] {
            for priority in [1_u8, 50, 90, 99, 100, 101, 150, 200, 254] {
                let backup = priority.to_string();
                let keys = [("version", of_table), ("advert_int_s", advert), ("backup_priority", &backup)];
                if version == VrrpVersion::V2 && advert.starts_with("0.") {
                    continue;
                }
                rows += 1;
                let advert_int = SimDuration::from_secs_f64(advert.parse().expect("a number"));
                let near = |found: f64, column: &str| {
                    let exact = table.value(&keys, column);
                    assert!((found - exact).abs() <= MICROSECOND, "{keys:?} {column}: {found} for {exact}");
                };

                let at_advert = SimTime(advert_int.0 * 7);
                let mut group = pair(version, advert_int, priority);
                group.crash(at_advert, 0);
                near(takeover(&mut group, at_advert), "max_detect_s");

                let before_the_next = SimTime(advert_int.0 * 8 - 1);
                let mut group = pair(version, advert_int, priority);
                group.crash(before_the_next, 0);
                near(takeover(&mut group, before_the_next), "min_detect_s");

                let mut group = pair(version, advert_int, priority);
                group.stop(at_advert, 0);
                near(takeover(&mut group, at_advert), "graceful_s");

                let config = VrrpConfig { version, advert_int, priority, ..VrrpConfig::default() };
                near(config.skew(priority).as_secs_f64(), "skew_s");
                let [shortest, mean, longest] = config.takeover_after_crash().map(SimDuration::as_secs_f64);
                near(shortest, "min_detect_s");
                near(longest, "max_detect_s");
                assert!((mean - (shortest + longest) / 2.0).abs() <= MICROSECOND);
            }
        }
    }
    assert_eq!(rows, 72, "rows of the table");
}
