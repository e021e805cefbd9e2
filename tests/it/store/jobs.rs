//! Jobs: born, replaced, leased, settled, rescued, hurried, cancelled.

use record_sync::engine::job::{JobState, Origin};
use record_sync::engine::plan::{Pair, Status};
use record_sync::engine::record::{Direction, Timestamp};
use record_sync::store::{Commit, Depth, JobFilter, NewJob, Settlement, Store, Transition};

use super::*;

on_both! {
    newer_work_takes_over_the_job_that_stands,
    work_that_came_in_during_a_delivery_is_done_after_it,
    a_sync_never_replaces_a_push_and_follows_it,
    a_push_takes_over_a_sync,
    the_due_are_leased_by_priority_and_age,
    each_transition_leaves_the_job_as_it_says,
    an_old_fence_changes_nothing,
    a_settlement_whose_pair_moved_on_changes_nothing,
    settling_goes_on_beside_the_lost_and_the_stale,
    the_pair_says_what_the_caller_did_not_know,
    rescue_takes_back_what_ran_out,
    a_lease_that_is_renewed_holds_on,
    retry_hurries_and_raises_the_dead,
    cancel_fences_a_delivery_off,
    senseless_work_goes_away,
    the_dead_are_born_once,
    jobs_are_listed_newest_first,
}

async fn job(store: &dyn Store, id: i64) -> record_sync::engine::job::Job {
    store.job(id).await.unwrap().expect("the job").1
}

/// A pair that says what its job is about.
fn queued(id: &str) -> Pair {
    let mut pair = agreed(id);
    pair.a_to_b.status = Status::Queued;
    pair
}

async fn newer_work_takes_over_the_job_that_stands(store: &dyn Store) {
    let link = link(store).await;
    let id = queue(store, link, vec![NewJob { priority: 5, due_at: at(50), ..wanted("1") }]).await;
    let newer = NewJob {
        rules_version: 2,
        correlation_id: "c2".into(),
        priority: 1,
        due_at: at(90),
        attempts_max: 3,
        state: JobState::Waiting,
        error: Some(error("its parent")),
        ..wanted("1")
    };
    let other_way = NewJob { direction: Direction::BToA, ..wanted("1") };
    let ids = queue(store, link, vec![newer, other_way]).await;
    assert_eq!(ids[0], id[0], "the same job stands for both");
    assert_ne!(ids[1], id[0], "the other direction is another matter");
    let now = job(store, id[0]).await;
    assert_eq!((now.rules_version, now.correlation_id.as_str()), (2, "c2"));
    assert_eq!((now.priority, now.due_at, now.attempts_max), (5, at(50), 3), "the more urgent of both");
    assert_eq!((now.state, now.error), (JobState::Waiting, Some(error("its parent"))));
    let counted = counters(store, link).await;
    assert_eq!((counted.accepted, counted.superseded), (3, 1));
    assert_conserved(store, link, "after a replacement").await;
}

async fn work_that_came_in_during_a_delivery_is_done_after_it(store: &dyn Store) {
    let link = link(store).await;
    // (transition, what the job is then, attempts, why)
    let cases = [
        (Transition::Synced, JobState::Pending, 0, "the edit made in flight is pushed again"),
        (Transition::Obsolete, JobState::Pending, 0, "nothing to do then, something now"),
        (Transition::Conflict { error: error("x") }, JobState::Pending, 0, "the newer may settle it"),
        (Transition::Dead { error: error("x"), payload: None }, JobState::Pending, 0, "or be accepted"),
        (Transition::Retrying { due_at: at(500), error: error("x") }, JobState::Retrying, 1, "goes on"),
        (Transition::Snoozed { due_at: at(500) }, JobState::Pending, 0, "goes on"),
    ];
    for (number, (transition, state, attempts, why)) in cases.into_iter().enumerate() {
        let name = number.to_string();
        let ids = queue(store, link, vec![wanted(&name)]).await;
        let leased = lease(store, link, 10, 1).await;
        let newer = NewJob { correlation_id: "c2".into(), ..wanted(&name) };
        assert_eq!(queue(store, link, vec![newer]).await, ids, "{why}");
        assert_eq!(job(store, ids[0]).await.state, JobState::Leased, "{why}");
        assert_eq!(settle(store, link, end(&leased[0], transition), 20).await, Settled::default(), "{why}");
        let now = job(store, ids[0]).await;
        assert_eq!((now.state, now.attempts, now.lease), (state, attempts, None), "{why}");
        assert_eq!(now.correlation_id, "c2", "{why}");
        assert_conserved(store, link, why).await;
        if state == JobState::Pending && now.due_at <= at(30) {
            let again = lease(store, link, 30, 1).await;
            settle(store, link, end(&again[0], Transition::Synced), 30).await;
            assert_eq!(store.job(ids[0]).await.unwrap(), None, "{why}: clean now, so it goes");
        }
    }
    assert_conserved(store, link, "in the end").await;
}

async fn a_sync_never_replaces_a_push_and_follows_it(store: &dyn Store) {
    let link = link(store).await;
    // (transition, what the push is then, why)
    let cases = [
        (Transition::Synced, JobState::Synced, "through"),
        (Transition::Obsolete, JobState::Synced, "it was there already"),
        (Transition::Dead { error: error("422"), payload: None }, JobState::Dead, "refused"),
    ];
    for (number, (transition, state, why)) in cases.into_iter().enumerate() {
        let name = number.to_string();
        keep(store, link, vec![queued(&name)]).await;
        let ids = queue(store, link, vec![push(&name, "{\"v\":1}")]).await;
        let sync = NewJob { state: JobState::Conflict, correlation_id: "c2".into(), ..wanted(&name) };
        assert_eq!(queue(store, link, vec![sync]).await, ids, "one active job a pair");
        let leased = lease(store, link, 10, 1).await;
        let (push, _) = (leased[0].job.clone(), ());
        assert_eq!(push.payload.as_deref(), Some("{\"v\":1}"), "{why}");
        assert_eq!((push.origin, push.correlation_id.as_str()), (Origin::Push, "c1"), "{why}");
        settle(store, link, end(&leased[0], transition), 20).await;
        assert_eq!(job(store, ids[0]).await.state, state, "{why}: kept for whoever asks");
        let next = lease(store, link, 30, 1).await;
        assert_eq!(next.len(), 1, "{why}: the sync comes after");
        assert_eq!((next[0].job.origin, &next[0].job.payload), (Origin::Sync, &None), "{why}");
        assert_eq!(next[0].pair.as_ref().unwrap().a_to_b.status, Status::Queued, "{why}: and says so");
        settle(store, link, end(&next[0], Transition::Synced), 40).await;
        assert_conserved(store, link, why).await;
    }
    let ids = queue(store, link, vec![push("c", "{}")]).await;
    queue(store, link, vec![wanted("c")]).await;
    assert!(store.cancel(ids[0], at(50)).await.unwrap());
    assert_eq!(lease(store, link, 60, 9).await.len(), 1, "who cancels a push cancels only the push");
    assert_conserved(store, link, "after a cancelled push").await;
}

async fn a_push_takes_over_a_sync(store: &dyn Store) {
    let link = link(store).await;
    let ids = queue(store, link, vec![wanted("1")]).await;
    let leased = lease(store, link, 10, 1).await;
    queue(store, link, vec![push("1", "P1")]).await;
    queue(store, link, vec![push("1", "P2")]).await;
    settle(store, link, end(&leased[0], Transition::Synced), 20).await;
    let again = lease(store, link, 30, 1).await;
    assert_eq!(again[0].job.payload.as_deref(), Some("P2"), "the newest push, after the sync in flight");
    settle(store, link, end(&again[0], Transition::Synced), 40).await;
    assert_eq!(job(store, ids[0]).await.state, JobState::Synced);
    let next = lease(store, link, 50, 9).await;
    assert_eq!(next.len(), 1, "what the planner wanted may be more than was pushed");
    assert_eq!(next[0].job.origin, Origin::Sync);
    settle(store, link, end(&next[0], Transition::Obsolete), 60).await;
    assert_conserved(store, link, "sync, push, push").await;
}

async fn the_due_are_leased_by_priority_and_age(store: &dyn Store) {
    let link = link(store).await;
    assert_eq!(store.next_due(link, Direction::AToB).await.unwrap(), None, "nothing at all");
    let make = |id: &str, priority: i32, due: i64| NewJob { priority, due_at: at(due), ..wanted(id) };
    queue(
        store,
        link,
        vec![
            make("low", -1, 1),
            make("young", 0, 9),
            make("old", 0, 3),
            make("urgent", 7, 10),
            make("later", 7, 50),
            NewJob { state: JobState::Waiting, ..make("waits", 0, 4) },
            NewJob { state: JobState::Conflict, ..make("conflict", 9, 0) },
            NewJob { direction: Direction::BToA, ..make("back", 9, 2) },
        ],
    )
    .await;
    keep(store, link, vec![agreed("old")]).await;
    assert_eq!(store.next_due(link, Direction::AToB).await.unwrap(), Some(at(1)), "whatever the priority");
    let leased = lease(store, link, 10, 3).await;
    let keys: Vec<String> = leased.iter().map(|leased| leased.job.key.to_string()).collect();
    assert_eq!(keys, ["urgent", "old", "waits"], "by priority, then as long as they have been due");
    assert_eq!(leased[0].pair, None);
    assert_eq!(leased[1].pair.as_ref().map(|pair| pair.version), Some(1), "with its pair");
    let first = &leased[0].job;
    assert_eq!((first.state, first.attempts), (JobState::Leased, 1), "the attempt counts from now on");
    let claim = first.lease.as_ref().unwrap();
    assert_eq!((claim.owner.as_str(), claim.until, claim.fence), ("w1", at(110), 1));
    let keys: Vec<String> =
        lease(store, link, 10, 9).await.iter().map(|leased| leased.job.key.to_string()).collect();
    assert_eq!(keys, ["young", "low"], "nobody is leased twice");
    assert_eq!(store.next_due(link, Direction::AToB).await.unwrap(), Some(at(50)));
    let [a_to_b, b_to_a] = store.depth(link).await.unwrap();
    assert_eq!(a_to_b, Depth { pending: 1, leased: 5, conflict: 1, ..Depth::default() });
    assert_eq!(b_to_a, Depth { pending: 1, ..Depth::default() });
}

async fn each_transition_leaves_the_job_as_it_says(store: &dyn Store) {
    let link = link(store).await;
    let later = at(500);
    let dead = || Transition::Dead { error: error("e"), payload: Some("raw".into()) };
    // (transition, state or gone, attempts, due, message, why)
    type Case = (Transition, Option<JobState>, u32, Option<Timestamp>, Option<&'static str>, &'static str);
    let cases: [Case; 8] = [
        (Transition::Synced, None, 0, None, None, "a delivered sync has no more to tell"),
        (Transition::Obsolete, None, 0, None, None, "nor one with nothing to do"),
        (Transition::Snoozed { due_at: later }, Some(JobState::Pending), 0, Some(later), None, "at no cost"),
        (
            Transition::Retrying { due_at: later, error: error("e") },
            Some(JobState::Retrying),
            1,
            Some(later),
            Some("e"),
            "the attempt counts",
        ),
        (Transition::Again { due_at: later }, Some(JobState::Pending), 0, Some(later), None, "from zero"),
        (
            Transition::Waiting { due_at: later, error: error("e") },
            Some(JobState::Waiting),
            0,
            Some(later),
            Some("e"),
            "waiting is not failing",
        ),
        (Transition::Conflict { error: error("e") }, Some(JobState::Conflict), 1, None, Some("e"), "parked"),
        (dead(), Some(JobState::Dead), 1, None, Some("e"), "kept with its reason"),
    ];
    for (number, (transition, state, attempts, due, message, why)) in cases.into_iter().enumerate() {
        let ids = queue(store, link, vec![wanted(&number.to_string())]).await;
        let leased = lease(store, link, 10, 1).await;
        settle(store, link, end(&leased[0], transition), 20).await;
        let found = store.job(ids[0]).await.unwrap().map(|(_, job)| job);
        assert_eq!(found.as_ref().map(|job| job.state), state, "{why}");
        if let Some(job) = found {
            assert_eq!((job.attempts, job.lease, job.updated_at), (attempts, None, at(20)), "{why}");
            assert_eq!(job.error.as_ref().map(|error| error.message.as_str()), message, "{why}");
            assert_eq!(job.due_at, due.unwrap_or(at(0)), "{why}");
            let payload = if job.state == JobState::Dead { Some("raw") } else { None };
            assert_eq!(job.payload.as_deref(), payload, "{why}");
        }
        assert_conserved(store, link, why).await;
    }
    let counted = counters(store, link).await;
    assert_eq!((counted.delivered, counted.superseded, counted.dead), (1, 1, 1));

    let ids = queue(store, link, vec![push("p", "{}")]).await;
    let leased = lease(store, link, 10, 1).await;
    settle(store, link, end(&leased[0], Transition::Snoozed { due_at: at(10) }), 20).await;
    let leased = lease(store, link, 10, 1).await;
    settle(store, link, end(&leased[0], Transition::Retrying { due_at: at(10), error: error("e") }), 20)
        .await;
    let leased = lease(store, link, 10, 1).await;
    assert_eq!((leased[0].job.attempts, leased[0].job.lease.as_ref().unwrap().fence), (2, 3));
    settle(store, link, end(&leased[0], Transition::Snoozed { due_at: at(10) }), 20).await;
    let snoozed = job(store, ids[0]).await;
    assert_eq!(
        (snoozed.state, snoozed.attempts),
        (JobState::Retrying, 1),
        "it is still one that failed before"
    );
    let leased = lease(store, link, 10, 1).await;
    settle(store, link, end(&leased[0], Transition::Synced), 20).await;
    let synced = job(store, ids[0]).await;
    assert_eq!((synced.state, synced.error), (JobState::Synced, None), "a push stays for whoever asks");
}

async fn an_old_fence_changes_nothing(store: &dyn Store) {
    let link = link(store).await;
    keep(store, link, vec![queued("1")]).await;
    let ids = queue(store, link, vec![wanted("1")]).await;
    let first = lease(store, link, 10, 1).await;
    store.rescue(at(200), false).await.unwrap();
    let second = lease(store, link, 210, 1).await;
    let mut late = end(&first[0], Transition::Synced);
    late.pair = first[0].pair.clone();
    let settled = settle(store, link, late, 220).await;
    assert_eq!(settled, Settled { lost: vec![ids[0]], stale: vec![] }, "its lease ran out");
    assert_eq!(pair(store, link, "1").await, second[0].pair, "its pair was not stored either");
    assert_eq!(job(store, ids[0]).await, second[0].job);
    let other = store.link("customer2", "people").await.unwrap().id;
    let settled = settle(store, other, end(&second[0], Transition::Synced), 220).await;
    assert_eq!(settled.lost, ids, "another link's job");
    settle(store, link, end(&second[0], Transition::Synced), 230).await;
    let settled = settle(store, link, end(&second[0], Transition::Synced), 240).await;
    assert_eq!(settled.lost, ids, "twice is once");
    assert_conserved(store, link, "after it all").await;
}

async fn a_settlement_whose_pair_moved_on_changes_nothing(store: &dyn Store) {
    let link = link(store).await;
    keep(store, link, vec![queued("1")]).await;
    let ids = queue(store, link, vec![wanted("1")]).await;
    let leased = lease(store, link, 10, 1).await;
    keep(store, link, vec![pair(store, link, "1").await.unwrap()]).await;
    let before = job(store, ids[0]).await;
    let mut ending = Settlement { pair: leased[0].pair.clone(), ..end(&leased[0], Transition::Synced) };
    let settled = settle(store, link, ending.clone(), 20).await;
    assert_eq!(settled, Settled { lost: vec![], stale: vec![ids[0]] });
    assert_eq!(job(store, ids[0]).await, before, "the lease holds: settle again");
    assert_eq!(counters(store, link).await.delivered, 0);
    ending.pair = pair(store, link, "1").await;
    ending.forget = true;
    assert_eq!(settle(store, link, ending, 30).await, Settled::default());
    assert_eq!(pair(store, link, "1").await, None, "forgotten");
    assert_eq!(store.count_pairs(link).await.unwrap(), 0);
    assert_conserved(store, link, "in the end").await;
}

async fn settling_goes_on_beside_the_lost_and_the_stale(store: &dyn Store) {
    let link = link(store).await;
    keep(store, link, vec![queued("1"), queued("2"), queued("3")]).await;
    let ids = queue(store, link, vec![wanted("1"), wanted("2"), wanted("3"), wanted("4")]).await;
    let leased = lease(store, link, 10, 9).await;
    let mut endings: Vec<Settlement> = leased
        .iter()
        .map(|leased| {
            let mut pair = leased.pair.clone().unwrap_or_else(|| Pair::new(leased.job.key.clone()));
            pair.a_to_b.status = Status::Synced;
            Settlement { pair: Some(pair), ..end(leased, Transition::Synced) }
        })
        .collect();
    endings[1].fence += 1;
    endings[2].pair.as_mut().unwrap().version = 8;
    let settled = store.settle(link, endings, at(20)).await.unwrap();
    assert_eq!(settled, Settled { lost: vec![ids[1]], stale: vec![ids[2]] });
    assert_eq!(status(store, link, "1").await, Status::Synced);
    assert_eq!(status(store, link, "2").await, Status::Queued);
    assert_eq!(status(store, link, "3").await, Status::Queued);
    assert_eq!(status(store, link, "4").await, Status::Synced, "a pair that was never stored");
    assert_eq!(store.count_pairs(link).await.unwrap(), 4);
}

async fn the_pair_says_what_the_caller_did_not_know(store: &dyn Store) {
    let link = link(store).await;
    // A push came in while the caller delivered: what it calls synced is not.
    keep(store, link, vec![queued("1")]).await;
    queue(store, link, vec![wanted("1")]).await;
    let leased = lease(store, link, 10, 1).await;
    queue(store, link, vec![push("1", "{}")]).await;
    let mut through = leased[0].pair.clone().unwrap();
    through.a_to_b.status = Status::Synced;
    settle(store, link, Settlement { pair: Some(through), ..end(&leased[0], Transition::Synced) }, 20).await;
    assert_eq!(status(store, link, "1").await, Status::Queued);

    // (transition without a pair, what the pair says, why)
    let cases = [
        (Transition::Retrying { due_at: at(10), error: error("503") }, Status::Retrying, Some("503")),
        (Transition::Snoozed { due_at: at(10) }, Status::Retrying, Some("503")),
        (Transition::Waiting { due_at: at(10), error: error("parent") }, Status::Waiting, Some("parent")),
        (Transition::Again { due_at: at(10) }, Status::Queued, None),
        // The push is dead; what the planner wanted goes on.
        (Transition::Dead { error: error("422"), payload: None }, Status::Queued, None),
        (Transition::Dead { error: error("422"), payload: None }, Status::Dead, Some("422")),
    ];
    for (transition, expected, message) in cases {
        let leased = lease(store, link, 20, 1).await;
        let why = format!("{transition:?}");
        settle(store, link, end(&leased[0], transition), 20).await;
        let way = pair(store, link, "1").await.unwrap().a_to_b;
        assert_eq!((way.status, way.error.as_deref()), (expected, message), "{why}");
    }
}

async fn rescue_takes_back_what_ran_out(store: &dyn Store) {
    let link = link(store).await;
    keep(store, link, vec![queued("1")]).await;
    let ids = queue(store, link, vec![wanted("1"), NewJob { due_at: at(50), ..wanted("2") }]).await;
    let leased = lease(store, link, 10, 1).await;
    lease(store, link, 60, 1).await;
    queue(store, link, vec![push("1", "new")]).await;
    assert_eq!(store.rescue(at(109), false).await.unwrap(), 0, "both leases hold");
    assert_eq!(store.rescue(at(110), false).await.unwrap(), 1, "the first ran out");
    let rescued = job(store, ids[0]).await;
    assert_eq!(
        (rescued.state, rescued.attempts, rescued.lease),
        (JobState::Pending, 1, None),
        "crashes cost"
    );
    let way = pair(store, link, "1").await.unwrap().a_to_b;
    assert_eq!((way.status, way.attempts), (Status::Queued, 1));
    assert_eq!(settle(store, link, end(&leased[0], Transition::Synced), 120).await.lost, [ids[0]]);
    assert_eq!(store.rescue(at(111), true).await.unwrap(), 1, "after a restart nobody holds a lease");
    let again = lease(store, link, 120, 1).await;
    assert_eq!(again[0].job.payload.as_deref(), Some("new"));
    settle(store, link, end(&again[0], Transition::Synced), 130).await;
    assert_eq!(job(store, ids[0]).await.state, JobState::Synced, "what came in before is in this delivery");
    assert_conserved(store, link, "after a rescue").await;
}

async fn a_lease_that_is_renewed_holds_on(store: &dyn Store) {
    let link = link(store).await;
    let ids = queue(store, link, vec![wanted("1"), wanted("2")]).await;
    let leased = lease(store, link, 10, 2).await;
    let claim = |at: usize| (ids[at], leased[at].job.lease.as_ref().unwrap().fence);
    let elsewhere = store.link("other", "link").await.unwrap().id;
    // (link, leases, until, lost, why)
    let cases = [
        (link, vec![claim(0)], 300, vec![], "the first is renewed, the second is not"),
        (link, vec![claim(0)], 200, vec![], "never to an earlier end"),
        (link, vec![(claim(1).0, claim(1).1 + 1)], 900, vec![ids[1]], "another fence"),
        (elsewhere, vec![claim(1)], 900, vec![ids[1]], "a job of another link"),
        (link, vec![(i64::MAX, 1)], 900, vec![i64::MAX], "no job at all"),
    ];
    for (of, leases, until, lost, why) in cases {
        assert_eq!(store.renew(of, leases, at(until)).await.unwrap(), lost, "{why}");
    }
    assert_eq!(store.rescue(at(110), false).await.unwrap(), 1, "only the second ran out");
    assert_eq!(store.rescue(at(299), false).await.unwrap(), 0, "the first holds on");
    assert_eq!(store.renew(link, vec![claim(0), claim(1)], at(900)).await.unwrap(), [ids[1]], "taken back");
    assert!(store.cancel(ids[0], at(301)).await.unwrap());
    assert_eq!(store.renew(link, vec![claim(0)], at(900)).await.unwrap(), [ids[0]], "cancelled is cancelled");
}

async fn retry_hurries_and_raises_the_dead(store: &dyn Store) {
    let link = link(store).await;
    keep(store, link, vec![queued("1")]).await;
    let retrying = Transition::Retrying { due_at: at(900), error: error("503") };
    let dead = Transition::Dead { error: error("422"), payload: Some("{}".into()) };
    let first = queue(store, link, vec![wanted("1")]).await;
    let leased = lease(store, link, 10, 1).await;
    settle(store, link, end(&leased[0], retrying), 20).await;
    assert_eq!(store.retry_now(link, &key("1"), at(30)).await.unwrap(), first);
    let now = job(store, first[0]).await;
    assert_eq!((now.state, now.attempts, now.due_at), (JobState::Pending, 0, at(30)));
    assert_eq!(store.retry_now(link, &key("1"), at(30)).await.unwrap(), [] as [i64; 0], "it is due as it is");

    let leased = lease(store, link, 30, 1).await;
    settle(store, link, end(&leased[0], dead.clone()), 40).await;
    assert_eq!(status(store, link, "1").await, Status::Dead);
    assert_eq!(store.retry_now(link, &key("1"), at(50)).await.unwrap(), first, "the dead rise");
    assert_eq!(status(store, link, "1").await, Status::Queued);
    assert_conserved(store, link, "after a resurrection").await;

    let leased = lease(store, link, 60, 1).await;
    settle(store, link, end(&leased[0], dead), 70).await;
    let second = queue(store, link, vec![wanted("1")]).await;
    assert_ne!(first, second);
    assert_eq!(store.retry_now(link, &key("1"), at(80)).await.unwrap(), [] as [i64; 0], "its place is taken");
    assert_eq!(job(store, first[0]).await.state, JobState::Dead);
    assert_conserved(store, link, "in the end").await;
}

async fn cancel_fences_a_delivery_off(store: &dyn Store) {
    let link = link(store).await;
    keep(store, link, vec![queued("1"), queued("2")]).await;
    let ids = queue(store, link, vec![wanted("1"), wanted("2")]).await;
    let leased = lease(store, link, 10, 1).await;
    for id in &ids {
        assert!(store.cancel(*id, at(20)).await.unwrap());
        assert!(!store.cancel(*id, at(20)).await.unwrap(), "once");
        assert_eq!(job(store, *id).await.state, JobState::Cancelled);
    }
    assert!(!store.cancel(999, at(20)).await.unwrap(), "no such job");
    assert_eq!(status(store, link, "1").await, Status::Cancelled);
    assert_eq!(status(store, link, "2").await, Status::Cancelled);
    assert_eq!(settle(store, link, end(&leased[0], Transition::Synced), 30).await.lost, [ids[0]]);
    assert_eq!(counters(store, link).await.cancelled, 2);
    assert_conserved(store, link, "after cancelling").await;
    assert_ne!(queue(store, link, vec![wanted("1")]).await, [ids[0]], "new work is a new job");
}

async fn senseless_work_goes_away(store: &dyn Store) {
    let link = link(store).await;
    let ids = queue(
        store,
        link,
        vec![NewJob { priority: 1, ..wanted("leased") }, wanted("idle"), push("push", "{}"), wanted("other")],
    )
    .await;
    lease(store, link, 10, 1).await;
    let names = ["leased", "idle", "push", "nothing"];
    let obsolete = names.iter().map(|name| (Direction::AToB, key(name))).collect();
    store.commit(link, Commit { obsolete, ..Commit::default() }, at(20)).await.unwrap();
    assert_eq!(job(store, ids[0]).await.state, JobState::Leased, "it is under way");
    assert_eq!(store.job(ids[1]).await.unwrap(), None);
    assert_eq!(job(store, ids[2]).await.state, JobState::Pending, "a person's push is not the planner's");
    assert_eq!(job(store, ids[3]).await.state, JobState::Pending);
    assert_eq!(counters(store, link).await.superseded, 1);
    assert_conserved(store, link, "after it went").await;
}

async fn the_dead_are_born_once(store: &dyn Store) {
    let link = link(store).await;
    let letter = |raw: &str| NewJob {
        state: JobState::Dead,
        error: Some(error("no e-mail")),
        payload: Some(raw.into()),
        ..wanted("1")
    };
    let first = queue(store, link, vec![letter("old")]).await;
    let second = queue(store, link, vec![letter("new")]).await;
    assert_eq!(first, second, "the same bad record, read again and again, is one letter");
    assert_eq!(job(store, first[0]).await.payload.as_deref(), Some("new"));
    assert_eq!(counters(store, link).await.dead, 1);
    let standing = queue(store, link, vec![wanted("2")]).await;
    let buried = queue(store, link, vec![NewJob { key: key("2"), ..letter("bad") }]).await;
    assert_eq!(standing, buried, "newer work that can't be delivered ends what stood for it");
    assert_eq!(job(store, buried[0]).await.state, JobState::Dead);
    assert!(lease(store, link, 10, 9).await.is_empty());
    assert_eq!(store.depth(link).await.unwrap()[0].dead, 2);
    assert_conserved(store, link, "with the dead").await;
}

async fn jobs_are_listed_newest_first(store: &dyn Store) {
    let first = link(store).await;
    let second = store.link("customer2", "people").await.unwrap().id;
    let back = NewJob { direction: Direction::BToA, ..wanted("1") };
    let mut ids = queue(store, first, vec![wanted("1"), back, wanted("2")]).await;
    ids.extend(queue(store, second, vec![wanted("1")]).await);
    lease(store, first, 10, 1).await;
    let all = || JobFilter { limit: 100, ..JobFilter::default() };
    // (filter, expected, why)
    let cases = [
        (all(), vec![ids[3], ids[2], ids[1], ids[0]], "all"),
        (JobFilter { limit: 2, ..all() }, vec![ids[3], ids[2]], "the newest"),
        (JobFilter { before: Some(ids[2]), ..all() }, vec![ids[1], ids[0]], "the next page"),
        (JobFilter { link: Some(first), ..all() }, vec![ids[2], ids[1], ids[0]], "a link"),
        (JobFilter { key: Some(key("1")), ..all() }, vec![ids[3], ids[1], ids[0]], "a key"),
        (JobFilter { direction: Some(Direction::BToA), ..all() }, vec![ids[1]], "a direction"),
        (JobFilter { state: Some(JobState::Leased), ..all() }, vec![ids[0]], "a state"),
        (JobFilter { state: Some(JobState::Dead), ..all() }, vec![], "none"),
    ];
    for (filter, expected, why) in cases {
        let found = store.jobs(filter).await.unwrap();
        assert_eq!(found.iter().map(|(_, job)| job.id).collect::<Vec<_>>(), expected, "{why}");
    }
    assert_eq!(store.job(ids[3]).await.unwrap().unwrap().0, second);
    assert_eq!(store.job(12345).await.unwrap(), None);
}
