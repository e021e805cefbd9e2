//! What somebody asks for: made once, done beside the planner's own work, remembered by its attempts, replayed.

use record_sync::engine::fault::FaultCode;
use record_sync::engine::job::{ATTEMPTS_KEPT, AttemptEnd, Job, JobError, JobState, Origin};
use record_sync::engine::plan::Status;
use record_sync::engine::record::Direction;
use record_sync::store::{Commit, Enqueued, JobFilter, NewJob, Once, Retried, Settlement, Store, Transition};

use super::*;

on_both! {
    one_of_many_gets_the_job,
    the_planners_own_job_is_taken_over,
    the_planners_wish_is_carried_out_or_outlives_what_was_asked,
    what_was_asked_says_nothing_of_a_pair_that_is_in_step,
    a_scheduled_job_runs_for_the_planner_and_again_at_its_time,
    news_during_a_delivery_that_was_asked_for_is_delivered_after_it,
    attempts_are_remembered_as_they_ended,
    only_the_last_attempts_are_kept,
    one_job_is_made_due_or_says_why_not,
    a_replay_answers_the_dead,
    letters_are_forgotten_and_nothing_else_is,
    what_is_parked_in_conflict_ends_with_it,
    what_a_request_has_made_is_found_by_its_name,
}

/// What somebody asked for, from `a` to `b`.
fn asked(id: &str) -> NewJob {
    NewJob { origin: Origin::Asked, priority: 1, payload: Some("{}".into()), ..wanted(id) }
}

async fn job(store: &dyn Store, id: i64) -> Job {
    store.job(id).await.unwrap().expect("the job").1
}

/// Asks for a job that has to be made.
async fn made(store: &dyn Store, link: LinkId, job: NewJob) -> i64 {
    match store.enqueue(link, job, None, at(5)).await.unwrap() {
        Enqueued::Job(id) => id,
        Enqueued::Standing(id) => panic!("job {id} stands"),
    }
}

/// Leases the next job and settles it, with the pair as it stands.
async fn run(store: &dyn Store, link: LinkId, transition: Transition, now: i64) -> i64 {
    let leased = lease(store, link, now, 1).await.pop().expect("a job that is due");
    let settlement = Settlement { pair: leased.pair.clone(), ..end(&leased, transition) };
    assert_eq!(settle(store, link, settlement, now + 3).await, Settled::default());
    leased.job.id
}

async fn ends(store: &dyn Store, id: i64) -> Vec<AttemptEnd> {
    store.attempts(id).await.unwrap().iter().map(|attempt| attempt.end).collect()
}

fn dead(code: FaultCode) -> Transition {
    Transition::Dead { error: JobError { code, message: "no".into() }, payload: None }
}

async fn one_of_many_gets_the_job(store: &dyn Store) {
    let link = link(store).await;
    let id = made(store, link, asked("1")).await;
    for _ in 0..3 {
        let again = store.enqueue(link, asked("1"), None, at(6)).await.unwrap();
        assert_eq!(again, Enqueued::Standing(id), "it stands");
    }
    let back = NewJob { direction: Direction::BToA, ..asked("1") };
    assert_ne!(made(store, link, back).await, id, "the other direction is another matter");
    assert_eq!(counters(store, link).await.accepted, 2, "what is refused is not accepted");
    let pushed = queue(store, link, vec![push("2", "{}")]).await;
    let refused = store.enqueue(link, asked("2"), None, at(6)).await.unwrap();
    assert_eq!(refused, Enqueued::Standing(pushed[0]), "a push is somebody's, too");
    assert_eq!(run(store, link, Transition::Synced, 10).await, id);
    assert_eq!(job(store, id).await.state, JobState::Synced, "it stays for whoever asks");
    assert_ne!(made(store, link, asked("1")).await, id, "its place is free");
    assert!(store.enqueue(LinkId(99), asked("1"), None, at(6)).await.is_err(), "there is no such link");
    assert_conserved(store, link, "with what was asked for").await;
}

async fn the_planners_own_job_is_taken_over(store: &dyn Store) {
    let link = link(store).await;
    let ids = queue(store, link, vec![wanted("1"), wanted("2")]).await;
    for number in 0..2 {
        let due_at = at(20 + number);
        run(store, link, Transition::Retrying { due_at, error: error("503") }, 10).await;
    }
    let own = NewJob { attempts_max: 1, correlation_id: "mine".into(), ..asked("1") };
    assert_eq!(made(store, link, own).await, ids[0], "one active job a record");
    let now = job(store, ids[0]).await;
    assert_eq!((now.origin, now.correlation_id.as_str()), (Origin::Asked, "mine"));
    assert_eq!((now.attempts, now.attempts_max, now.error), (0, 1, None), "with attempts of its own");
    // One that runs is done once more.
    let leased = lease(store, link, 30, 9).await;
    let running = leased.iter().find(|leased| leased.job.id == ids[1]).expect("the other one");
    assert_eq!(made(store, link, asked("2")).await, ids[1]);
    settle(store, link, end(running, Transition::Synced), 40).await;
    assert_eq!(job(store, ids[1]).await.state, JobState::Pending, "what was asked for is still to be done");
    assert_conserved(store, link, "after taking over").await;
}

async fn the_planners_wish_is_carried_out_or_outlives_what_was_asked(store: &dyn Store) {
    let link = link(store).await;
    // (how what was asked for ends, jobs of the planner afterwards, why)
    let cases = [
        (Some(Transition::Synced), 0, "it is carried out"),
        (Some(Transition::Obsolete), 0, "there was nothing to it"),
        (Some(dead(FaultCode::Unavailable)), 1, "it has attempts of its own"),
        (None, 1, "who cancels what was asked for cancels only that"),
    ];
    for (number, (transition, left, why)) in cases.into_iter().enumerate() {
        let name = number.to_string();
        let mut known = agreed(&name);
        known.a_to_b.status = Status::Synced;
        keep(store, link, vec![known]).await;
        let id = made(store, link, asked(&name)).await;
        assert_eq!(queue(store, link, vec![wanted(&name)]).await, [id], "{why}: one active job a record");
        match transition {
            Some(transition) => assert_eq!(run(store, link, transition, 10).await, id, "{why}"),
            None => assert!(store.cancel(id, at(10)).await.unwrap()),
        }
        let next = lease(store, link, 30, 9).await;
        assert_eq!(next.len(), left, "{why}");
        assert!(next.iter().all(|leased| leased.job.origin == Origin::Sync), "{why}");
        assert!(next.iter().all(|it| it.pair.as_ref().unwrap().a_to_b.status == Status::Queued), "{why}");
        for leased in next {
            settle(store, link, end(&leased, Transition::Synced), 40).await;
        }
        assert_conserved(store, link, why).await;
    }
    // Nothing of the planner's stands behind this one.
    keep(store, link, vec![agreed("c")]).await;
    let id = made(store, link, asked("c")).await;
    assert!(store.cancel(id, at(50)).await.unwrap());
    assert_ne!(status(store, link, "c").await, Status::Cancelled, "the pair stands as it stood");
}

async fn what_was_asked_says_nothing_of_a_pair_that_is_in_step(store: &dyn Store) {
    let link = link(store).await;
    let retrying = || Transition::Retrying { due_at: at(900), error: error("503") };
    let (request, push) = (Origin::Asked, Origin::Push);
    // (what for, how the pair stands, what it says once the job was hurried, and once it was cancelled, why)
    let cases = [
        (request, Status::Synced, Status::Synced, Status::Synced, "nothing of it is to be done"),
        (request, Status::Dead, Status::Dead, Status::Dead, "the letter has its own end"),
        (request, Status::Retrying, Status::Retrying, Status::Cancelled, "what differs goes nowhere now"),
        (push, Status::Synced, Status::Synced, Status::Synced, "what is pushed is none of the planner's"),
        (push, Status::None, Status::None, Status::None, "nor where nothing ever had to go"),
    ];
    for (number, (origin, stands, hurried, cancelled, why)) in cases.into_iter().enumerate() {
        let name = number.to_string();
        let mut known = agreed(&name);
        known.a_to_b.status = stands;
        keep(store, link, vec![known]).await;
        let id = made(store, link, NewJob { origin, ..asked(&name) }).await;
        let leased = lease(store, link, 10, 1).await.pop().expect(why);
        settle(store, link, end(&leased, retrying()), 13).await;
        assert_eq!(status(store, link, &name).await, stands, "{why}: only the job is to be tried again");
        assert_eq!(store.retry_job(id, at(20)).await.unwrap(), Retried::Due);
        assert_eq!(status(store, link, &name).await, hurried, "{why}");
        lease(store, link, 30, 1).await;
        store.rescue(at(500), false).await.unwrap();
        assert_eq!(status(store, link, &name).await, hurried, "{why}: a process that died changes nothing");
        assert!(store.cancel(id, at(510)).await.unwrap());
        assert_eq!(status(store, link, &name).await, cancelled, "{why}");
    }
}

async fn a_scheduled_job_runs_for_the_planner_and_again_at_its_time(store: &dyn Store) {
    let link = link(store).await;
    let later = NewJob { due_at: at(500), state: JobState::Waiting, ..asked("1") };
    let id = made(store, link, later).await;
    assert!(lease(store, link, 100, 9).await.is_empty(), "not before its time");
    queue(store, link, vec![wanted("1")]).await;
    assert_eq!(job(store, id).await.state, JobState::Pending, "the planner does not wait for it");
    assert_eq!(run(store, link, Transition::Synced, 100).await, id);
    let waiting = job(store, id).await;
    assert_eq!((waiting.state, waiting.due_at), (JobState::Waiting, at(500)), "once more at its time");
    assert_eq!(run(store, link, Transition::Obsolete, 500).await, id);
    assert_eq!(job(store, id).await.state, JobState::Synced);
    assert_eq!(ends(store, id).await, [AttemptEnd::Delivered, AttemptEnd::NothingToDo]);
    let id = made(store, link, NewJob { due_at: at(900), state: JobState::Waiting, ..asked("1") }).await;
    assert_eq!(store.retry_job(id, at(600)).await.unwrap(), Retried::Due, "somebody can't wait");
    assert_eq!(run(store, link, Transition::Synced, 600).await, id);
    assert_eq!(job(store, id).await.state, JobState::Synced, "and that was it");
    assert_conserved(store, link, "with a schedule").await;
}

async fn news_during_a_delivery_that_was_asked_for_is_delivered_after_it(store: &dyn Store) {
    let link = link(store).await;
    // (when it was asked for, how that ends, where the job stands then, after how many tries, why)
    let cases = [
        (0, Transition::Obsolete, JobState::Pending, 0, "nothing to do then, something now"),
        (0, Transition::Synced, JobState::Pending, 0, "the newer values may not be among those"),
        (
            900,
            Transition::Obsolete,
            JobState::Pending,
            0,
            "news does not wait for the time that was asked for",
        ),
        (900, dead(FaultCode::NotFound), JobState::Pending, 0, "there may be a record now"),
        (0, Transition::Waiting { due_at: at(50), error: error("x") }, JobState::Waiting, 0, "goes on"),
    ];
    for (number, (time, transition, state, tries, why)) in cases.into_iter().enumerate() {
        let name = number.to_string();
        let id = made(store, link, NewJob { due_at: at(time), ..asked(&name) }).await;
        if time > 0 {
            queue(store, link, vec![wanted(&name)]).await;
        }
        let under_way = lease(store, link, 10, 1).await.pop().expect(why);
        assert_eq!(queue(store, link, vec![wanted(&name)]).await, [id], "{why}: one active job a record");
        settle(store, link, end(&under_way, transition), 20).await;
        let now = job(store, id).await;
        assert_eq!((now.state, now.attempts, now.origin), (state, tries, Origin::Asked), "{why}");
        assert_eq!(run(store, link, Transition::Synced, 60).await, id, "{why}");
        let left = if time > 0 { JobState::Waiting } else { JobState::Synced };
        assert_eq!(job(store, id).await.state, left, "{why}: and that was all");
        assert!(lease(store, link, 70, 9).await.is_empty(), "{why}");
        assert_conserved(store, link, why).await;
    }
    // Settled with its pair, it knows: the pair would have moved on. Who asked again is none the wiser by that.
    for (name, again, left, why) in [
        ("p", wanted("p"), JobState::Synced, "what it looked at itself is no news"),
        ("q", asked("q"), JobState::Pending, "somebody has edited the record, and asks again"),
    ] {
        keep(store, link, vec![agreed(name)]).await;
        let id = made(store, link, asked(name)).await;
        let under_way = lease(store, link, 80, 1).await.pop().expect(why);
        queue(store, link, vec![again]).await;
        let settlement = Settlement { pair: under_way.pair.clone(), ..end(&under_way, Transition::Synced) };
        settle(store, link, settlement, 90).await;
        assert_eq!(job(store, id).await.state, left, "{why}");
    }
}

async fn attempts_are_remembered_as_they_ended(store: &dyn Store) {
    let link = link(store).await;
    let due_at = at(20);
    let told = |message: &str| Some(error(message));
    // (transition, reason, what is remembered, its error, why)
    let cases = [
        (
            Transition::Retrying { due_at, error: error("503") },
            None,
            Some(AttemptEnd::Retrying),
            told("503"),
            "failed",
        ),
        (Transition::Snoozed { due_at }, None, None, None, "nothing was tried"),
        (
            Transition::Snoozed { due_at },
            told("429"),
            Some(AttemptEnd::PutOff),
            told("429"),
            "asked for patience",
        ),
        (
            Transition::Waiting { due_at, error: error("p") },
            None,
            Some(AttemptEnd::Waiting),
            told("p"),
            "a parent",
        ),
        (
            Transition::Again { due_at },
            None,
            Some(AttemptEnd::Delivered),
            None,
            "and more is to be delivered",
        ),
        (Transition::Obsolete, None, Some(AttemptEnd::NothingToDo), None, "in step"),
    ];
    let id = made(store, link, asked("1")).await;
    let mut expected = Vec::new();
    for (number, (transition, reason, remembered, message, why)) in (1u64..).zip(cases) {
        let leased = lease(store, link, 20, 1).await.pop().expect(why);
        settle(store, link, Settlement { reason, ..end(&leased, transition) }, 27).await;
        expected.extend(remembered.map(|end| (number, end, message)));
        let found = store.attempts(id).await.unwrap();
        let shapes: Vec<_> = found.iter().map(|it| (it.number, it.end, it.error.clone())).collect();
        assert_eq!(shapes, expected, "{why}");
        assert!(found.iter().all(|it| (it.started_at, it.duration_ms) == (at(20), 7)), "{why}: {found:?}");
        assert!(found.iter().all(|it| it.correlation_id == "c1"), "{why}");
    }
    let counted = counters(store, link).await;
    assert_eq!(
        (counted.retries, counted.attempts, counted.attempts_ms),
        (1, 3, 21),
        "those that ended by themselves"
    );

    let id = made(store, link, asked("2")).await;
    lease(store, link, 30, 1).await;
    store.rescue(at(200), false).await.unwrap();
    lease(store, link, 210, 1).await;
    assert!(store.cancel(id, at(220)).await.unwrap());
    assert_eq!(ends(store, id).await, [AttemptEnd::Lost, AttemptEnd::Cancelled]);

    let ids = queue(store, link, vec![wanted("3")]).await;
    run(store, link, Transition::Retrying { due_at: at(300), error: error("503") }, 300).await;
    assert_eq!(ends(store, ids[0]).await, [AttemptEnd::Retrying], "the planner's jobs have attempts, too");
    run(store, link, Transition::Synced, 310).await;
    assert!(ends(store, ids[0]).await.is_empty(), "they go with their job");
}

async fn only_the_last_attempts_are_kept(store: &dyn Store) {
    let link = link(store).await;
    let id = made(store, link, asked("1")).await;
    for _ in 0..ATTEMPTS_KEPT + 5 {
        run(store, link, Transition::Retrying { due_at: at(10), error: error("503") }, 10).await;
    }
    let numbers: Vec<u64> = store.attempts(id).await.unwrap().iter().map(|it| it.number).collect();
    assert_eq!(numbers, (6..=ATTEMPTS_KEPT as u64 + 5).collect::<Vec<_>>());
}

async fn one_job_is_made_due_or_says_why_not(store: &dyn Store) {
    let link = link(store).await;
    assert_eq!(store.retry_job(77, at(9)).await.unwrap(), Retried::Unknown);
    let id = made(store, link, asked("1")).await;
    assert_eq!(store.retry_job(id, at(9)).await.unwrap(), Retried::Not(JobState::Pending));
    let retrying = Transition::Retrying { due_at: at(900), error: error("503") };
    run(store, link, retrying, 10).await;
    assert_eq!(store.retry_job(id, at(20)).await.unwrap(), Retried::Due);
    let now = job(store, id).await;
    assert_eq!((now.state, now.due_at, now.attempts), (JobState::Pending, at(20), 0));
    run(store, link, dead(FaultCode::Validation), 30).await;
    let standing = queue(store, link, vec![wanted("1")]).await[0];
    assert_eq!(store.retry_job(id, at(40)).await.unwrap(), Retried::Standing(standing));
    run(store, link, Transition::Synced, 50).await;
    assert_eq!(store.retry_job(id, at(60)).await.unwrap(), Retried::Due, "its place is free again");
    run(store, link, Transition::Synced, 70).await;
    assert_eq!(store.retry_job(id, at(80)).await.unwrap(), Retried::Not(JobState::Synced));
    assert_conserved(store, link, "after retries").await;
}

async fn a_replay_answers_the_dead(store: &dyn Store) {
    let link = link(store).await;
    let old = queue(store, link, vec![wanted("1")]).await[0];
    run(store, link, dead(FaultCode::Validation), 10).await;
    assert_eq!(store.depth(link).await.unwrap()[0].dead, 1);
    let new = made(store, link, NewJob { replay_of: Some(old), ..asked("1") }).await;
    let (then, now) = (job(store, old).await, job(store, new).await);
    assert_eq!((then.state, then.replayed_by), (JobState::Dead, Some(new)), "it stays, and names its replay");
    assert_eq!((now.replay_of, now.replay_attempt), (Some(old), Some(1)), "which names it and its attempt");
    assert_eq!(store.depth(link).await.unwrap()[0].dead, 0, "it waits for nobody any more");
    assert_eq!(store.retry_job(old, at(20)).await.unwrap(), Retried::Standing(new));
    assert_eq!(store.retry_now(link, &key("1"), at(20)).await.unwrap(), [] as [i64; 0]);
    run(store, link, dead(FaultCode::Validation), 30).await;
    let letters = JobFilter { limit: 9, ..JobFilter::letters() };
    let found: Vec<i64> = store.jobs(letters).await.unwrap().iter().map(|(_, job)| job.id).collect();
    assert_eq!(found, [new], "the newer letter stands for both");
    let born = NewJob { state: JobState::Dead, error: Some(error("no e-mail")), ..wanted("1") };
    assert_ne!(
        queue(store, link, vec![born]).await,
        [old],
        "a new one does not hide in one that is answered"
    );
    store.tidy(at(40).plus(record_sync::store::ENDED_KEPT), true).await.unwrap();
    assert_eq!(store.job(old).await.unwrap(), None, "and is forgotten as what ended is");
    assert!(store.attempts(old).await.unwrap().is_empty());
    assert!(store.job(new).await.unwrap().is_some(), "a letter waits for ever");
    assert_conserved(store, link, "after a replay").await;
}

async fn letters_are_forgotten_and_nothing_else_is(store: &dyn Store) {
    let link = link(store).await;
    let other = store.link("customer2", "people").await.unwrap().id;
    let ids = queue(store, link, vec![wanted("1"), wanted("2"), wanted("3")]).await;
    run(store, link, dead(FaultCode::Validation), 10).await;
    run(store, link, dead(FaultCode::NotFound), 20).await;
    let letters = || JobFilter { limit: 9, ..JobFilter::letters() };
    // (filter, letters, why)
    let cases = [
        (letters(), vec![ids[1], ids[0]], "newest first"),
        (JobFilter { code: Some(FaultCode::NotFound), ..letters() }, vec![ids[1]], "by error"),
        (JobFilter { from: Some(at(20)), ..letters() }, vec![ids[1]], "since"),
        (JobFilter { to: Some(at(20)), ..letters() }, vec![ids[0]], "until"),
        (JobFilter { key: Some(key("1")), ..letters() }, vec![ids[0]], "by record"),
        (JobFilter { links: Some(vec![link, other]), ..letters() }, vec![ids[1], ids[0]], "of links"),
        (JobFilter { links: Some(vec![other]), ..letters() }, vec![], "of another link"),
        (JobFilter { links: Some(vec![]), ..letters() }, vec![], "of no link"),
        (JobFilter { before: Some(ids[1]), ..letters() }, vec![ids[0]], "the next page"),
    ];
    for (filter, expected, why) in cases {
        let found: Vec<i64> = store.jobs(filter).await.unwrap().iter().map(|(_, job)| job.id).collect();
        assert_eq!(found, expected, "{why}");
    }
    let gone = store.forget_letters(vec![ids[0], ids[2], 99]).await.unwrap();
    assert_eq!(gone, 1, "only letters");
    assert_eq!(store.job(ids[0]).await.unwrap(), None);
    assert!(store.attempts(ids[0]).await.unwrap().is_empty());
    assert_eq!(job(store, ids[2]).await.state, JobState::Pending);
    assert_eq!(counters(store, link).await.dead, 2, "they were dead all the same");
    assert_conserved(store, link, "after forgetting").await;
}

async fn what_is_parked_in_conflict_ends_with_it(store: &dyn Store) {
    let link = link(store).await;
    let id = made(store, link, asked("1")).await;
    run(store, link, Transition::Conflict { error: error("both") }, 10).await;
    let obsolete = || Commit { obsolete: vec![(Direction::AToB, key("1"))], ..Commit::default() };
    store.commit(link, obsolete(), at(20)).await.unwrap();
    assert_eq!(job(store, id).await.state, JobState::Synced, "the other side won: nothing is to be done");
    let id = made(store, link, asked("1")).await;
    run(store, link, Transition::Conflict { error: error("both") }, 30).await;
    queue(store, link, vec![wanted("1")]).await;
    assert_eq!(run(store, link, Transition::Synced, 40).await, id, "this side won: it is delivered");
    let id = made(store, link, asked("1")).await;
    store.commit(link, obsolete(), at(50)).await.unwrap();
    assert_eq!(job(store, id).await.state, JobState::Pending, "what is still to be done is left alone");
    assert_conserved(store, link, "after conflicts").await;
}

async fn what_a_request_has_made_is_found_by_its_name(store: &dyn Store) {
    let link = link(store).await;
    let once = |name: &str| Once { name: name.to_owned(), until: at(100) };
    let jobs = vec![wanted("1"), wanted("2")];
    let commit = Commit { jobs, once: Some(once("many")), ..Commit::default() };
    let many = store.commit(link, commit, at(5)).await.unwrap().jobs;
    let Enqueued::Job(one) = store.enqueue(link, asked("3"), Some(once("one")), at(5)).await.unwrap() else {
        panic!("nothing stands");
    };
    let refused = store.enqueue(link, asked("3"), Some(once("two")), at(6)).await.unwrap();
    assert_eq!(refused, Enqueued::Standing(one));
    // (name, when, what it has made, why)
    let cases = [
        ("many", 50, Some(many), "all of them, in order"),
        ("one", 50, Some(vec![one]), "with the job itself"),
        ("two", 50, None, "it was refused, and may be tried again"),
        ("three", 50, None, "it never came"),
        ("one", 100, None, "that is long ago"),
    ];
    for (name, now, made, why) in cases {
        assert_eq!(once(name).made(store, at(now)).await.unwrap(), made, "{why}");
    }
}
