//! What every destination promises.

use super::*;

pub async fn creates_updates_and_deletes_arrive(harness: &impl Harness) {
    let writer = Writer::new(harness);
    let rows: Vec<Row> = (0..4).map(Row::numbered).collect();
    delivered(&writer.write(rows.iter().map(create).collect()).await);
    assert_eq!(standing(harness).await, rows);

    let changed = Row::new("k00001", "Changed", "c@example.test");
    let batch = vec![
        writer.delivery("k00001", Write::Update(changed.values().into())).await,
        writer.delivery("k00002", Write::Delete).await,
        create(&Row::numbered(7)),
    ];
    delivered(&writer.write(batch).await);
    let expected = vec![Row::numbered(0), changed, Row::numbered(3), Row::numbered(7)];
    assert_eq!(standing(harness).await, expected);
}

pub async fn an_update_leaves_other_fields_alone(harness: &impl Harness) {
    harness.insert(&[Row::numbered(1)]).await;
    harness.settle().await;
    let writer = Writer::new(harness);
    let only_name = vec![Value::text("k00001"), Value::text("Only the name"), Value::Absent];
    delivered(&writer.write(vec![writer.delivery("k00001", Write::Update(only_name.into())).await]).await);
    assert_eq!(standing(harness).await, [Row::new("k00001", "Only the name", "n1@example.test")]);
}

pub async fn a_repeated_write_changes_nothing(harness: &impl Harness) {
    let writer = Writer::new(harness);
    let once = writer.write(vec![create(&Row::numbered(1)), create(&Row::numbered(2))]).await;
    delivered(&once);
    let id = match &once[1] {
        Outcome::Delivered { id, .. } => id.clone(),
        _ => None,
    };
    if harness.system().features(&harness.spec()).upsert_by_key {
        delivered(&writer.write(vec![create(&Row::numbered(1))]).await);
    }
    assert_eq!(standing(harness).await, [Row::numbered(1), Row::numbered(2)]);
    let delete = Delivery { id, write: Write::Delete, ..create(&Row::numbered(2)) };
    delivered(&writer.write(vec![delete.clone()]).await);
    delivered(&writer.write(vec![delete]).await);
    assert_eq!(standing(harness).await, [Row::numbered(1)], "deleting what is gone is done");
}

pub async fn what_moved_is_not_overwritten(harness: &impl Harness) {
    if !harness.system().features(&harness.spec()).compare_and_set {
        return;
    }
    let moved = Row::new("k00001", "Somebody else", "n1@example.test");
    harness.insert(&[moved.clone(), Row::numbered(2)]).await;
    harness.settle().await;
    let writer = Writer::new(harness);
    let ours = |number: usize| {
        Write::Update(
            vec![Row::numbered(number).values()[0].clone(), Value::text("Ours"), Value::Absent].into(),
        )
    };
    let expected = |number: usize| Some(Row::numbered(number).values().into());
    let partly = vec![Value::Unknown, Value::text("Name 2"), Value::Absent];
    let batch = vec![
        Delivery { expected: expected(1), ..writer.delivery("k00001", ours(1)).await },
        Delivery { expected: Some(partly.into()), ..writer.delivery("k00002", ours(2)).await },
        Delivery { expected: expected(1), ..writer.delivery("k00001", Write::Delete).await },
        Delivery { expected: expected(3), ..writer.delivery("k00003", ours(3)).await },
    ];
    let outcomes = writer.write(batch).await;
    for at in [0, 2] {
        match &outcomes[at] {
            Outcome::Stale(Some(record)) => assert_eq!(row_of(record, harness.fields()), moved),
            other => panic!("delivery {at} is stale: {other:?}"),
        }
    }
    delivered(&outcomes[1..2]);
    assert!(matches!(outcomes[3], Outcome::Stale(None)), "an update of nothing: {:?}", outcomes[3]);
    assert_eq!(standing(harness).await, [moved, Row::new("k00002", "Ours", "n2@example.test")]);

    let other = Row::new("k00002", "Not the same", "x@example.test");
    let outcomes = writer.write(vec![create(&other)]).await;
    assert!(matches!(outcomes[0], Outcome::Stale(Some(_))), "a create of what is there: {outcomes:?}");
}

pub async fn one_bad_record_fails_alone(harness: &impl Harness) {
    let Some(poison) = harness.poison() else { return };
    let writer = Writer::new(harness);
    let outcomes =
        writer.write(vec![create(&Row::numbered(1)), create(&poison), create(&Row::numbered(2))]).await;
    delivered(&outcomes[0..1]);
    delivered(&outcomes[2..3]);
    match &outcomes[1] {
        Outcome::Failed(fault) => assert_eq!(fault.kind, FaultKind::Rejected, "{fault}"),
        other => panic!("the poison is refused: {other:?}"),
    }
    assert_eq!(standing(harness).await, [Row::numbered(1), Row::numbered(2)]);
}

pub async fn odd_texts_come_through(harness: &impl Harness) {
    let texts = [
        "O'Hara \"quoted\" \\ back",
        "line\nbreak, and comma",
        "tab\there",
        "007",
        "9007199254740993",
        "true",
        "null",
        "1e5",
        "  spaces around  ",
        "Ünïcödé 日本語 🦀",
        "e\u{301} is not composed",
        "nul\u{0}inside",
        "<b>&amp;</b> %41 ${HOME}",
        "=SUM(A1)",
    ];
    let rows: Vec<Row> = texts
        .iter()
        .filter(|text| !harness.unfit(text))
        .enumerate()
        .map(|(at, text)| Row::new(format!("k{at:05}"), *text, "x@example.test"))
        .collect();
    let writer = Writer::new(harness);
    delivered(&writer.write(rows.iter().map(create).collect()).await);
    assert_eq!(standing(harness).await, rows, "as the back door sees them");
    let mut follower = Follower::new(harness);
    follower.pass(100).await;
    assert_eq!(follower.believed(), rows, "as the source reads them");
}

pub async fn values_of_every_kind_stand_as_told_or_are_refused_by_name(harness: &impl Harness) {
    let number = |text: &str| Number::parse(text).expect("a number");
    let values = [
        number("9007199254740993"),
        number("18446744073709551615"),
        number("12345678901234567890.123456789012345678"),
        number("-0.0"),
        number("1e400"),
        Value::Bool(true),
        Value::Bool(false),
        Value::Null,
        Value::text(""),
        Value::Json(r#"{"a":[1,2.50,{}],"b":null}"#.into()),
        Value::Bytes([0, 255, 10].into()),
    ];
    let [_, field, _] = harness.fields();
    let writer = Writer::new(harness);
    for (at, value) in values.iter().enumerate() {
        let row = Row::numbered(at);
        let sent = vec![Value::text(&row.key), value.clone(), Value::text(&row.email)];
        let outcomes =
            writer.write(vec![Delivery { write: Write::Create(sent.into()), ..create(&row) }]).await;
        let found = writer.look_up(&row.key).await;
        match (&outcomes[0], found) {
            (Outcome::Delivered { stored, .. }, Some(found)) => {
                let claimed = stored.as_ref().map_or(value, |stored| stored.get(field));
                let stands = found.get(field);
                let empty = |value: &Value| value.is_missing() || *value == Value::Null;
                assert!(
                    stands == claimed || empty(stands) && empty(claimed),
                    "{value:?} was said to stand as {claimed:?} and is {stands:?}"
                );
            }
            (Outcome::Failed(fault), None) => {
                assert_eq!(fault.kind, FaultKind::Rejected, "{value:?}: {fault}");
                assert!(fault.message.to_lowercase().contains(&field.to_lowercase()), "{value:?}: {fault}");
                assert!(fault.remedy.is_some(), "{value:?}: {fault}");
            }
            (outcome, found) => panic!("{value:?}: {outcome:?}, and there is {found:?}"),
        }
    }
}

pub async fn what_was_written_is_read_back_as_stored(harness: &impl Harness) {
    let writer = Writer::new(harness);
    let row = Row::new("k00001", "Just as it is", "as@example.test");
    let outcomes = writer.write(vec![create(&row)]).await;
    let Outcome::Delivered { stored, .. } = &outcomes[0] else { panic!("{outcomes:?}") };
    let claimed = stored.as_ref().map_or(row, |record| row_of(record, harness.fields()));
    let mut follower = Follower::new(harness);
    follower.pass(10).await;
    assert_eq!(follower.believed(), [claimed], "an echo that is not what was claimed would travel back");
}

pub async fn look_ups_answer_in_order(harness: &impl Harness) {
    harness.insert(&[Row::numbered(1), Row::numbered(2)]).await;
    harness.settle().await;
    let writer = Writer::new(harness);
    let wanted: Vec<Wanted> =
        ["k00002", "k00009", "k00001", "k00002"].map(|key| Wanted { key: key_of(key), id: None }).into();
    let found = writer.destination.look_up(&wanted, &call()).await.expect("the call itself works");
    let rows: Vec<Option<Row>> =
        found.iter().map(|record| record.as_ref().map(|record| row_of(record, harness.fields()))).collect();
    let expected = [Some(Row::numbered(2)), None, Some(Row::numbered(1)), Some(Row::numbered(2))];
    assert_eq!(rows, expected);
}

pub async fn a_load_shows_all_or_nothing(harness: &impl Harness) {
    if !harness.system().features(&harness.spec()).loads {
        return;
    }
    harness.insert(&[Row::numbered(1)]).await;
    harness.settle().await;
    let writer = Writer::new(harness);
    let staged: Vec<Delivery> = (2..5).map(|number| create(&Row::numbered(number))).collect();

    let mut load = writer.destination.open_load(&writer.shape).await.expect("a load");
    delivered(&load.stage(&staged).await.expect("staged"));
    drop(load);
    assert_eq!(standing(harness).await, [Row::numbered(1)], "a load that never ended left no trace");

    let mut load = writer.destination.open_load(&writer.shape).await.expect("a load");
    for delivery in &staged {
        delivered(&load.stage(std::slice::from_ref(delivery)).await.expect("staged"));
    }
    assert_eq!(standing(harness).await, [Row::numbered(1)], "nothing is shown early");
    let mark = load.mark();
    let holds = async |mark: Option<&str>| match mark {
        Some(mark) => Some(writer.destination.holds_load(mark).await.expect("an answer")),
        None => None,
    };
    assert_ne!(holds(mark.as_deref()).await, Some(true), "nobody takes it for ended");
    load.finish().await.expect("the load ends");
    assert_ne!(holds(mark.as_deref()).await, Some(false), "whoever can be asked knows it again");
    assert!(!writer.destination.holds_load("another").await.expect("an answer"), "and no other");
    assert_eq!(standing(harness).await, (1..5).map(Row::numbered).collect::<Vec<_>>());
}
