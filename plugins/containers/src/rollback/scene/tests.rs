//! Every crash leaves one of these scenes.

use std::collections::{BTreeMap, BTreeSet};

use backout_plugin_api::LockToken;

use super::*;
use crate::host::{Endpoint, Restart};

fn fence(dispatch: u32) -> Fence {
    Fence { store: "st".into(), token: LockToken(5), dispatch }
}

fn key() -> EffectKey {
    EffectKey::from_text("r/s/1/0")
}

fn data(overlap: bool) -> Data {
    let endpoint = Endpoint { aliases: BTreeSet::from(["shop".into()]), ..Endpoint::default() };
    Data {
        engine: "docker:X".into(),
        name: "web".into(),
        old: "old".into(),
        old_image: "sha256:2".into(),
        source: Source::Image { name: "shop@sha256:1".into() },
        overlap,
        networks: BTreeMap::from([("net".into(), endpoint)]),
        restart: Restart::never(),
        was_running: true,
        auto_remove: false,
    }
}

fn old(name: &str, is_running: bool) -> Container {
    Container {
        id: "old".into(),
        name: name.into(),
        is_running,
        is_up: is_running,
        ..Container::default()
    }
}

fn new(name: &str, is_running: bool, aliases: &[&str]) -> Container {
    let aliases = aliases.iter().map(|&alias| alias.to_owned()).collect();
    let endpoint = Endpoint { aliases, ..Endpoint::default() };
    Container {
        id: "new".into(),
        name: name.into(),
        is_running,
        is_up: is_running,
        labels: Maker::new("r", "s", &key(), &fence(1), "old").labels(),
        networks: BTreeMap::from([("net".into(), endpoint)]),
        ..Container::default()
    }
}

fn scene(old: Option<Container>, new: Option<Container>) -> Scene {
    let named = |it: &&Container| it.name == "web";
    let at_name = old.iter().chain(&new).find(named).cloned();
    Scene { old, new, at_name, can_quiet: true, ..Scene::default() }
}

#[track_caller]
fn check(scene: &Scene, overlap: bool, is_well: bool, wanted: Step) {
    let seen = if is_well { Seen::Well } else { Seen::Nothing };
    assert_eq!(next(scene, &data(overlap), &fence(1), seen), Next::Do(wanted));
}

const MARK: &str = "backout-x";

#[test]
fn side_by_side_the_old_one_ends_last() {
    let serving = || Some(old("web", true));
    let kept = || Some(old("web-kept", true));
    check(&scene(serving(), None), true, false, Step::Mark);
    let made = Container { networks: BTreeMap::new(), ..new(MARK, false, &[]) };
    check(&scene(serving(), Some(made)), true, false, Step::Attach);
    check(&scene(serving(), Some(new(MARK, false, &[]))), true, false, Step::Start);
    check(&scene(serving(), Some(new(MARK, true, &[]))), true, false, Step::Await);
    check(&scene(serving(), Some(new(MARK, true, &[]))), true, true, Step::Join);
    check(&scene(serving(), Some(new(MARK, true, &["shop"]))), true, true, Step::Keep);
    check(&scene(kept(), Some(new(MARK, true, &["shop"]))), true, true, Step::Name);
    check(&scene(kept(), Some(new("web", true, &["shop"]))), true, true, Step::Stop);
    let done = scene(Some(old("web-kept", false)), Some(new("web", true, &["shop"])));
    assert_eq!(next(&done, &data(true), &fence(1), Seen::Nothing), Next::Done);
}

#[test]
fn one_after_the_other_the_old_one_ends_first() {
    let serving = || Some(old("web", true));
    let ended = || Some(old("web", false));
    check(&scene(serving(), None), false, false, Step::Mark);
    check(&scene(serving(), Some(new(MARK, false, &["shop"]))), false, false, Step::Stop);
    check(&scene(ended(), Some(new(MARK, false, &["shop"]))), false, false, Step::Start);
    check(&scene(ended(), Some(new(MARK, true, &["shop"]))), false, false, Step::Await);
    check(&scene(ended(), Some(new(MARK, true, &["shop"]))), false, true, Step::Keep);
    let kept = Some(old("web-kept", false));
    check(&scene(kept.clone(), Some(new(MARK, true, &["shop"]))), false, true, Step::Name);
    let done = scene(kept, Some(new("web", true, &["shop"])));
    assert_eq!(next(&done, &data(false), &fence(1), Seen::Nothing), Next::Done);
}

#[test]
fn a_policy_that_starts_it_again_is_taken_away() {
    let always = Restart { name: "always".into(), retries: 0 };
    let serving = || Some(Container { restart: always.clone(), ..old("web", true) });
    let well = || Some(new(MARK, true, &["shop"]));
    let ended = |name: &str| Some(Container { restart: always.clone(), ..old(name, false) });
    check(&scene(serving(), well()), true, true, Step::Keep);
    check(&scene(ended("web"), well()), false, true, Step::Quiet);
    let named = || Some(new("web", true, &["shop"]));
    check(&scene(ended("web-kept"), named()), true, true, Step::Quiet);
    let podman = Scene { can_quiet: false, ..scene(ended("web-kept"), named()) };
    assert_eq!(next(&podman, &data(true), &fence(1), Seen::Well), Next::Done);
}

#[test]
fn an_old_one_that_ends_again_and_again_is_ended_before_it_is_renamed() {
    let shaky = Container { restarts: 3, ..old("web", true) };
    let healthy = Container { health: Health::Healthy, ..shaky.clone() };
    let well = || Some(new(MARK, true, &["shop"]));
    check(&scene(Some(shaky), well()), true, true, Step::Stop);
    check(&scene(Some(healthy), well()), true, true, Step::Keep);
}

#[test]
fn one_that_is_not_healthy_never_ends_the_old_one() {
    // It died after it got the name.
    let kept = || Some(old("web-kept", true));
    check(&scene(kept(), Some(new("web", false, &["shop"]))), true, false, Step::Start);
    check(&scene(kept(), Some(new("web", true, &["shop"]))), true, false, Step::Await);
    // Started again under its mark, it is not found by its aliases.
    let died = scene(Some(old("web", true)), Some(new(MARK, false, &["shop"])));
    check(&died, true, false, Step::Attach);
    // Started once, it is not started again.
    for seen in [Seen::Started, Seen::Well] {
        assert_eq!(next(&died, &data(true), &fence(1), seen), Next::Do(Step::Await));
    }
}

#[test]
fn what_others_changed_is_left_alone() {
    let refused = |scene: &Scene| match next(scene, &data(true), &fence(1), Seen::Nothing) {
        Next::Refuse(why) => why,
        other => panic!("{other:?}"),
    };
    assert!(refused(&scene(None, None)).contains("is gone"));
    assert!(refused(&scene(Some(old("web-2", true)), None)).contains("no more web but web-2"));
    let later = Fence { token: LockToken(6), ..fence(1) };
    let labels = Maker::new("other", "s", &EffectKey::from_text("o"), &later, "x").labels();
    let theirs = Container { labels, ..old("web", true) };
    assert!(refused(&scene(Some(theirs), None)).contains("later holder, run other"));
    let mut taken = scene(Some(old("web-kept", true)), Some(new(MARK, true, &["shop"])));
    taken.at_name = Some(Container { id: "theirs".into(), ..old("web", true) });
    let abandoned = next(&taken, &data(true), &fence(1), Seen::Well);
    assert!(matches!(abandoned, Next::Abandon(why) if why.contains("somebody else")));
}

#[test]
fn a_seal_keeps_out_what_it_sealed_and_no_more() {
    let sealed = Scene { seal: Some((1, "seal".into())), ..scene(Some(old("web", true)), None) };
    assert!(matches!(next(&sealed, &data(true), &fence(1), Seen::Nothing), Next::Refuse(_)));
    assert_eq!(next(&sealed, &data(true), &fence(2), Seen::Nothing), Next::Do(Step::Unseal));
    let made = scene(Some(old("web", true)), Some(new(MARK, true, &[])));
    let earlier = Fence { dispatch: 0, ..fence(1) };
    assert!(matches!(next(&made, &data(true), &earlier, Seen::Nothing), Next::Refuse(_)));
}

#[test]
fn a_kept_one_gets_its_policy_back_and_its_place() {
    let always = Restart { name: "always".into(), retries: 0 };
    let source =
        Source::Kept { id: "new".into(), name: "web-kept".into(), restart: always.clone() };
    let data = Data { source, ..data(true) };
    let mut before = scene(Some(old("web", true)), None);
    assert!(
        matches!(next(&before, &data, &fence(1), Seen::Nothing), Next::Refuse(why) if why.contains("gone"))
    );
    before.kept = Some(new("web-kept", false, &["shop"]));
    assert_eq!(next(&before, &data, &fence(1), Seen::Nothing), Next::Do(Step::Mark));
    let well = scene(Some(old("web", true)), Some(new(MARK, true, &["shop"])));
    assert_eq!(next(&well, &data, &fence(1), Seen::Well), Next::Do(Step::Revive));
    let revived = Container { restart: always, ..new(MARK, true, &["shop"]) };
    let well = scene(Some(old("web", true)), Some(revived));
    assert_eq!(next(&well, &data, &fence(1), Seen::Well), Next::Do(Step::Keep));
}
