//! What an ingest job gives back, as CSV.
//!
//! The order is not that of the upload, as in the real service where batches end as they please: a client
//! that goes by the order goes wrong here, too.

use csv::ByteRecord;

use super::form::Form;
use super::load::{Done, Load};

/// Which rows are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Successful,
    Failed,
    Unprocessed,
}

/// Writes the rows that are asked for, in an order of its own.
pub fn results(load: &Load, form: Form, which: Which, seed: u64) -> csv::Result<Vec<u8>> {
    let mut writer = form.writer();
    let own: &[&str] = match which {
        Which::Successful => &["sf__Id", "sf__Created"],
        Which::Failed => &["sf__Id", "sf__Error"],
        Which::Unprocessed => &[],
    };
    // A job that was never begun has no header yet.
    let columns = match load.columns.is_empty() {
        true => first_row(form, load.data())?,
        false => ByteRecord::from(load.columns.clone()),
    };
    writer.write_byte_record(&own.iter().map(|name| name.as_bytes()).chain(&columns).collect())?;
    if which == Which::Unprocessed {
        let mut rows: Vec<ByteRecord> = form
            .reader(load.data().get(load.at..).unwrap_or_default())
            .into_byte_records()
            .collect::<Result<_, _>>()?;
        if load.columns.is_empty() && !rows.is_empty() {
            rows.remove(0);
        }
        for row in rows {
            writer.write_byte_record(&fitted(&row, columns.len(), &[]))?;
        }
    } else {
        let wanted = |done: &&(usize, &Done)| done.1.outcome.is_ok() == (which == Which::Successful);
        let all: Vec<(usize, &Done)> = load.done.iter().enumerate().collect();
        let mut rows: Vec<&(usize, &Done)> = all.iter().filter(wanted).collect();
        rows.sort_by_key(|(number, _)| shuffled(seed, *number));
        for (_, done) in rows {
            let sent = first_row(form, load.data().get(done.place.clone()).unwrap_or_default())?;
            let told = match &done.outcome {
                Ok(saved) => [saved.id.as_str(), if saved.created { "true" } else { "false" }],
                Err(refused) => [refused.id.as_str(), refused.error.as_str()],
            };
            writer.write_byte_record(&fitted(&sent, columns.len(), &told))?;
        }
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

/// Gives the place of a row in an order that is the same every time and no other's.
pub fn shuffled(seed: u64, number: usize) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(&number.to_le_bytes(), seed)
}

fn first_row(form: Form, data: &[u8]) -> csv::Result<ByteRecord> {
    let mut record = ByteRecord::new();
    form.reader(data).read_byte_record(&mut record)?;
    Ok(record)
}

/// Puts our own cells before the sent ones, of which there are as many as columns.
fn fitted(sent: &ByteRecord, columns: usize, own: &[&str]) -> ByteRecord {
    let cells = (0..columns).map(|at| sent.get(at).unwrap_or_default());
    own.iter().map(|cell| cell.as_bytes()).chain(cells).collect()
}
