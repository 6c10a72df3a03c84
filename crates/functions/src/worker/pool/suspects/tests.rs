use super::*;

fn report(in_flight: &[&str], named: Option<&str>) -> CrashReport {
    CrashReport {
        in_flight: in_flight.iter().map(|name| FunctionId::new(*name)).collect(),
        named: named.map(FunctionId::new),
    }
}

fn complete(suspects: &mut CrashSuspects, function: &str, count: u32) {
    for _ in 0..count {
        suspects.completed(&FunctionId::new(function));
    }
}

#[test]
fn a_function_that_completes_little_between_two_crashes_is_suspect() {
    let (mut suspects, now) = (CrashSuspects::default(), Instant::now());
    assert_eq!(suspects.crashed(&report(&["busy", "crashes"], None), now), None);
    complete(&mut suspects, "busy", 1_000);
    complete(&mut suspects, "crashes", 3);
    let second = suspects.crashed(&report(&["busy", "crashes"], None), now + Duration::from_secs(2));
    assert_eq!(second, Some(FunctionId::new("crashes")));
}

#[test]
fn workers_that_are_killed_under_load_make_no_function_suspect() {
    let (mut suspects, mut now) = (CrashSuspects::default(), Instant::now());
    for _ in 0..200 {
        assert_eq!(suspects.crashed(&report(&["a", "b"], None), now), None);
        complete(&mut suspects, "a", 100);
        complete(&mut suspects, "b", 100);
        now += Duration::from_millis(300);
    }
}

#[test]
fn a_function_that_its_worker_names_twice_is_suspect_and_no_other() {
    let (mut suspects, now) = (CrashSuspects::default(), Instant::now());
    assert_eq!(suspects.crashed(&report(&["rare", "slow"], Some("rare")), now), None);
    complete(&mut suspects, "rare", 100_000);
    let named = suspects.crashed(&report(&["slow", "rare"], Some("rare")), now);
    assert_eq!(named, Some(FunctionId::new("rare")));
}

#[test]
fn crashes_are_forgotten_after_a_while() {
    let (mut suspects, now) = (CrashSuspects::default(), Instant::now());
    assert_eq!(suspects.crashed(&report(&["f"], Some("f")), now), None);
    assert!(!suspects.is_empty());
    assert_eq!(suspects.crashed(&report(&["f"], Some("f")), now + WINDOW), None);
    suspects.forget_old(now + 2 * WINDOW);
    assert!(suspects.is_empty());
    assert_eq!(suspects.crashed(&report(&[], None), now), None, "an idle worker names nobody");
}
