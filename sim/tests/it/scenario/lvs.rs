//! The options of LVS schedulers in scenarios: read, explained, and refused where they mean nothing.

use evenkeel_sim::balancer::lvs::{LvsScheduler, SchedulerFlags};
use evenkeel_sim::scenario::{Loaded, Program, Scenario, canonical};
use evenkeel_sim::tier::LvsConfig;

use super::{WHOLE, read, shown};

const WLC: &str = "[strategy.balancer.lvs.wlc]";

/// [`super::WHOLE`] with another scheduler, and these lines of options before the others.
fn with(scheduler: &str, options: &str) -> String {
    WHOLE.replace(WLC, &format!("[strategy.balancer.lvs.{scheduler}]\n{options}"))
}

fn lvs(scenario: &Scenario) -> &LvsConfig {
    let Program::Lvs(config) = &scenario.strategies[1].tiers[0].program else { panic!("LVS comes second") };
    config
}

fn first_mistake(text: &str) -> (String, String) {
    let mistakes = read(text).expect_err("a mistake").0;
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    (mistakes[0].message.clone(), mistakes[0].help.clone().unwrap_or_default())
}

#[test]
fn every_scheduler_is_read_and_what_explain_prints_reads_the_same() {
    for entry in LvsScheduler::ENTRIES {
        let Loaded { scenario, resolved, .. } =
            read(&with(entry.name, "")).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert_eq!(lvs(&scenario).services[0].scheduler.name(), entry.name);
        let again = read(&canonical(&resolved)).unwrap_or_else(|mistakes| panic!("{mistakes}")).scenario;
        assert_eq!(shown(&again), shown(&scenario), "{}", entry.name);
    }
}

#[test]
fn flags_are_spelled_as_ipvsadm_spells_them() {
    let flags = |scheduler: &str, options: &str| {
        let Loaded { scenario, resolved, .. } =
            read(&with(scheduler, options)).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let again = read(&canonical(&resolved)).unwrap_or_else(|mistakes| panic!("{mistakes}")).scenario;
        let flags = lvs(&scenario).services[0].scheduler_flags;
        assert_eq!(lvs(&again).services[0].scheduler_flags, flags);
        flags
    };
    let none = SchedulerFlags::default();
    assert_eq!(flags("sh", "flags = []"), none);
    assert_eq!(flags("sh", "flags = [\"sh-port\"]"), SchedulerFlags { port: true, ..none });
    let both = SchedulerFlags { port: true, fallback: true };
    assert_eq!(flags("mh", "flags = [\"mh-port\", \"mh-fallback\"]"), both);
}

#[test]
fn flags_of_another_scheduler_are_mistakes() {
    let (message, help) = first_mistake(&with("sh", "flags = [\"mh-port\"]"));
    assert_eq!(message, "unknown flag `mh-port`");
    assert!(help.contains("`sh-port`"), "{help}");
    let (message, help) = first_mistake(&with("wlc", "flags = []"));
    assert_eq!(message, "`flags` has no meaning with `lvs.wlc`");
    assert!(help.contains("`lvs.sh`"), "{help}");
}

#[test]
fn mh_wants_numeric_addresses_of_its_servers() {
    let named = |scheduler| with(scheduler, "").replace("10.0.0.1:80", "web1.example:80");
    let (message, help) = first_mistake(&named("mh"));
    assert!(message.contains("`web1` has only a name: `web1.example:80`"), "{message}");
    assert!(help.contains("IP address"), "{help}");
    assert!(read(&named("sh")).is_ok());
    let bare = with("mh", "").replace("10.0.0.1:80", "10.0.0.1");
    let scenario = read(&bare).unwrap_or_else(|mistakes| panic!("{mistakes}")).scenario;
    assert_eq!(lvs(&scenario).services[0].servers[0].address.to_string(), "10.0.0.1:80");
}
