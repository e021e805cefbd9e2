//! The bulk road of the reading end: a long first read comes by one bulk job instead of a call for every 2,000 rows.
//!
//! The job asks for the rows in the keyset's own order, so that a cursor is the same on either road: whoever is
//! interrupted goes on by pages, or by another job for the rest. A job that fails, or keeps no order, is left
//! for pages.

use std::io::Cursor as Bytes;

use csv::{Reader, ReaderBuilder, StringRecord};

use super::jobs::{Work, failed, gone};
use super::org::{Ask, protocol, unreadable};
use super::source::{Fetched, SalesforceSource};
use super::wire;
use crate::connectors::Call;
use crate::connectors::rest::{After, malformed, server_time};
use crate::engine::fault::Fault;
use crate::engine::record::Timestamp;

/// Fewer rows are cheaper by pages: a bulk job takes about ten calls.
const EXTRACT_FROM: u64 = 20_000;
/// Whoever asks for fewer rows at a time wants a look and no stream.
const LIMIT_MIN: usize = 200;
/// Rows of the first page of results, which stands in memory; the later ones are as long as makes them this many
/// bytes.
const ROWS_FIRST: u64 = 1_000;
const ROWS_MIN: u64 = 50;
const ROWS_MAX: u64 = 100_000;
const PAGE_BYTES: u64 = 8 * 1024 * 1024;

/// A read that is worth a bulk job.
struct Long {
    /// The moment by the service's clock, before the job.
    began: Option<Timestamp>,
}

/// A job's results on their way in.
pub struct Extract {
    job: String,
    /// The moment by the service's clock at which the job was asked for.
    began: Option<Timestamp>,
    page: Reader<Bytes<Vec<u8>>>,
    /// Where the next page of results is.
    locator: Option<String>,
    rows_next: u64,
    /// The last row that was handed out.
    pub last: Option<(Timestamp, String)>,
}

impl SalesforceSource {
    /// Gives the next rows of a long first read by a bulk job; `None` where pages are to be read. `rest` is the
    /// condition and order of the keyset behind `after`.
    pub(super) async fn extracted(
        &mut self,
        after: Option<After<'_>>,
        rest: &str,
        limit: usize,
        call: &Call,
    ) -> Result<Option<Fetched>, Fault> {
        let here = match after {
            Some(After::Row(at, id)) => Some((at, id.to_owned())),
            _ => None,
        };
        let goes_on = self.extract.as_ref().is_some_and(|extract| extract.last == here && here.is_some());
        if !goes_on {
            if limit < LIMIT_MIN {
                return Ok(None);
            }
            if let Some(left) = self.extract.take() {
                let operation = format!("extract {}", self.stream.stream);
                self.org.drop_query(&operation, &left.job, call).await;
            }
            let long = match self.org.settings.bulk && !self.left_for_pages {
                true => self.long(rest, call).await?,
                false => None,
            };
            let Some(Long { began }) = long else {
                self.left_for_pages = true;
                return Ok(None);
            };
            match self.begin_extract(rest, began, call).await {
                Ok(extract) => self.extract = Some(extract),
                Err(fault) => return self.leave(fault),
            }
        }
        match self.take(limit, call).await {
            Ok(fetched) => Ok(Some(fetched)),
            Err(fault) => self.leave(fault),
        }
    }

    /// Gives the job up: what it did not show is read by pages.
    fn leave(&mut self, fault: Fault) -> Result<Option<Fetched>, Fault> {
        if fault.is_stopping() {
            return Err(fault);
        }
        tracing::warn!(event = "salesforce.bulk_left", object = %self.stream.stream, error = %fault,
            "a bulk query did not work; reading by pages instead");
        self.left_for_pages = true;
        Ok(None)
    }

    /// Counts what is still to be read. A count that takes the service too long is one of many rows.
    async fn long(&self, rest: &str, call: &Call) -> Result<Option<Long>, Fault> {
        let Some(columns) = &self.columns else { return Ok(None) };
        let object = &self.stream.stream;
        let described = self.org.described(object, false, call).await?;
        // In CSV an open field has no type, and some have no cell.
        let fits = |name: &String| described.field(name).is_some_and(|field| field.in_bulk);
        if described.open || !columns.names.iter().all(fits) {
            return Ok(None);
        }
        let operation = format!("count {object}");
        let condition = rest.split(" ORDER BY ").next().unwrap_or_default();
        let soql = format!("SELECT COUNT() FROM {object}{condition}");
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("q", &soql).finish();
        let path = format!("query?{query}");
        let counted = match self.org.ask(Ask::get(&operation, &path), call).await {
            Ok(reply) => reply,
            Err(fault) if fault.code == crate::engine::fault::FaultCode::Timeout => {
                return Ok(Some(Long { began: None }));
            }
            Err(fault) => return Err(fault),
        };
        let count = wire::decode_count(&counted.body).map_err(|error| protocol(&operation, &error))?;
        Ok((count >= EXTRACT_FROM).then(|| Long { began: server_time(&counted) }))
    }

    async fn begin_extract(
        &self,
        rest: &str,
        began: Option<Timestamp>,
        call: &Call,
    ) -> Result<Extract, Fault> {
        let columns = self.columns.as_ref().ok_or_else(super::source::defect)?;
        let object = &self.stream.stream;
        let operation = format!("extract {object}");
        let unlimited = rest.rsplit_once(" LIMIT ").map_or(rest, |(order, _)| order);
        let body = wire::query_body(&wire::select(object, &columns.names, unlimited));
        let job = self.org.open_job(&operation, Work::Query, &body, call).await?;
        let ended = match self.org.finish_job(&operation, (&job.id, None), call).await {
            Ok(ended) if ended.state != "JobComplete" => Err(failed(&operation, &ended)),
            ended => ended,
        };
        let page = reader(Vec::new());
        let mut extract =
            Extract { job: job.id, began, page, locator: None, rows_next: ROWS_FIRST, last: None };
        let turned = match ended {
            Ok(_) => self.turn(&mut extract, call).await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = turned {
            self.org.drop_query(&operation, &extract.job, call).await;
            return Err(fault);
        }
        Ok(extract)
    }

    /// Fetches the next page of results.
    async fn turn(&self, extract: &mut Extract, call: &Call) -> Result<(), Fault> {
        let operation = format!("extract {}", self.stream.stream);
        let rows = extract.rows_next.to_string();
        let locator = extract.locator.iter().map(|locator| ("locator", locator.as_str()));
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("maxRecords", &rows)
            .extend_pairs(locator)
            .finish();
        let path = format!("jobs/query/{}/results?{query}", extract.job);
        let ask = Ask { is_csv: true, ..Ask::get(&operation, &path) };
        let reply = self.org.ask_again(ask, call).await?.ok_or_else(|| gone(&operation, &extract.job))?;
        // The word stands for the end.
        let locator = reply.header("sforce-locator").filter(|locator| !matches!(*locator, "null" | ""));
        extract.locator = locator.map(str::to_owned);
        let rows = reply.header("sforce-numberofrecords").and_then(|rows| rows.parse::<u64>().ok());
        let bytes_each = (reply.body.len() as u64 / rows.unwrap_or(extract.rows_next).max(1)).max(1);
        extract.rows_next = (PAGE_BYTES / bytes_each).clamp(ROWS_MIN, ROWS_MAX);
        extract.page = reader(reply.body);
        Ok(())
    }

    /// Takes the next rows; the job goes when they are the last, or when they can't be read.
    async fn take(&mut self, limit: usize, call: &Call) -> Result<Fetched, Fault> {
        let Some(mut extract) = self.extract.take() else { return Err(super::source::defect()) };
        let taken = self.rows(&mut extract, limit, call).await;
        if taken.as_ref().is_ok_and(|fetched| !fetched.done) {
            self.extract = Some(extract);
        } else {
            let operation = format!("extract {}", self.stream.stream);
            self.org.drop_query(&operation, &extract.job, call).await;
        }
        taken
    }

    async fn rows(&self, extract: &mut Extract, limit: usize, call: &Call) -> Result<Fetched, Fault> {
        let columns = self.columns.as_ref().ok_or_else(super::source::defect)?;
        let operation = format!("extract {}", self.stream.stream);
        let described = self.org.described(&self.stream.stream, false, call).await?;
        let bad = |error: csv::Error| unreadable(&operation, &error.to_string());
        let mut rows = Vec::with_capacity(limit);
        let mut cells = StringRecord::new();
        let done = loop {
            if rows.len() >= limit {
                break false;
            }
            if !extract.page.read_record(&mut cells).map_err(bad)? {
                if extract.locator.is_none() {
                    break true;
                }
                self.turn(extract, call).await?;
                continue;
            }
            let heads = extract.page.headers().map_err(bad)?;
            let row = columns.decode_cells(&described, heads, &cells);
            if let Ok(row) = &row {
                let place = (row.stamp, row.id.clone());
                if extract.last.as_ref().is_some_and(|last| *last >= place) {
                    return Err(unreadable(&operation, "the rows are in no order"));
                }
                extract.last = Some(place);
            }
            let text = || cells.iter().collect::<Vec<_>>().join(",");
            rows.push(row.map_err(|reason| malformed(&text(), reason)));
        };
        Ok(Fetched { rows, last: extract.last.clone(), done, server_time: extract.began })
    }
}

fn reader(body: Vec<u8>) -> Reader<Bytes<Vec<u8>>> {
    ReaderBuilder::new().flexible(true).from_reader(Bytes::new(body))
}
