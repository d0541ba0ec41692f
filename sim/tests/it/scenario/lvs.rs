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
    let Program::Lvs(config) = &scenario.strategies[1].tier.program else { panic!("LVS comes second") };
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

/// Users of 60 addresses in two populations that share them, one calling port 80 and one 443, behind a director with
/// `options`.
fn two_ports(options: &str) -> evenkeel_sim::cluster::RunOutcome {
    let addresses: Vec<String> = (1..=60).map(|host| format!("\"192.0.2.{host}\"")).collect();
    let population = |name: &str, port: u16| {
        format!(
            "[[population]]\nname = \"{name}\"\nclients = 60\naddress = {{ fixed = [{}] }}\n\
             visit = {{ preset = \"browse\", away = \"20s\" }}\nconnection = {{ port = {port} }}\n",
            addresses.join(", ")
        )
    };
    let text = format!(
        "title = \"two ports\"\nduration = \"5min\"\nreplications = 1\n{}{}[cluster]\n\
         capacity = {{ workers = 8, service = \"20ms\" }}\n\
         servers = [{{ name = \"a\", address = \"10.0.0.1:80\" }}, {{ name = \"b\", address = \"10.0.0.2:80\" }}]\n\
         [[strategy]]\nname = \"s\"\nsession = {{ local = {{}} }}\n\
         balancer = {{ lvs.rr = {{ persistence_timeout = \"600s\", {options} }} }}\n",
        population("web", 80),
        population("tls", 443)
    );
    let loaded = read(&text).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert!(read(&loaded.resolved.to_string()).is_ok());
    let setup = evenkeel_sim::cluster::RunSetup {
        scenario: &loaded.scenario,
        strategy: 0,
        replication: 0,
        logs: &[],
        stories: 0,
    };
    evenkeel_sim::cluster::run(&setup, &|_| {}).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn ports_have_services_and_templates_of_their_own_unless_one_service_answers_at_all() {
    let templates = |options| two_ports(options).sizes.templates;
    assert_eq!(templates("virtual_service = \"port\""), 120);
    assert_eq!(templates("virtual_service = \"all_ports\""), 60);
    assert_eq!(templates("virtual_service = \"firewall_mark\""), 60);
}

#[test]
fn a_service_of_all_ports_must_be_persistent() {
    let text = "title = \"t\"\nduration = \"1s\"\n[[scripted_client]]\nname = \"c\"\naddress = \"1.2.3.4\"\n\
                connections = [{ at = \"0s\", hold = \"0s\" }]\n[cluster]\n\
                servers = [{ name = \"a\", address = \"10.0.0.1:80\" }]\ncapacity = { workers = 1, service = \"1s\" }\n\
                [[strategy]]\nname = \"s\"\nsession = { local = {} }\n\
                balancer = { lvs.rr = { virtual_service = \"all_ports\" } }\n";
    let mistakes = read(text).expect_err("refused").to_string();
    assert!(mistakes.contains("a service of all ports must be persistent"), "{mistakes}");
}
