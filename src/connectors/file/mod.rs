//! Files as systems: a JSON list, JSON Lines or CSV, read and written whole.
//!
//! - Readers never see half a file ([`source`], [`snapshot`]), writers never leave one
//!   ([`destination`], [`replace`]).
//! - Memory is flat however long the file ([`window`]).
//! - A rewrite gives back every byte that it does not have to change: byte order mark, line ends,
//!   unknown columns and fields, order, white space ([`rewrite`]).
//!
//! What a file can't tell: which of two equal states came first, who wrote it, and whether a last
//! CSV cell without a line end is whole (it is given half a second of quiet).

mod append;
mod broken;
mod csv;
mod destination;
mod edits;
mod json;
mod jsonl;
mod load;
mod object;
mod overlay;
mod reader;
mod replace;
mod rewrite;
mod settings;
mod snapshot;
mod source;
mod style;
mod trail;
mod window;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::engine::fault::Fault;

use super::{
    Call, Clock, Connector, Deletes, Destination, Features, NoBytes, Open, Source, StreamInfo, StreamSpec,
    System,
};

use broken::Broken;
use destination::FileDestination;
use reader::Reader;
use settings::{Format, STREAM_OPTIONS, Settings};
use snapshot::{Place, Snapshot};
use source::{FileSource, Plan, interrupted};
use trail::Trail;

/// The entry in the table of connectors.
pub const CONNECTOR: Connector = Connector {
    name: "file",
    about: "Files: a JSON list, JSON Lines or CSV, one record an object or a row",
    remote: false,
    settings_schema: settings::schema,
    stream_options: STREAM_OPTIONS,
    check_settings: settings::check,
    open,
    mock: None,
};

/// Records that `describe` looks at to learn the fields of JSON.
const DESCRIBED_MAX: usize = 1_000;

fn open(open: Open) -> Result<Arc<dyn System>, Fault> {
    let settings = Settings::open(&open)?;
    Ok(Arc::new(FileSystem {
        settings,
        clock: open.clock,
        page_bytes: open.bounds.page_bytes,
        trails: Mutex::default(),
    }))
}

/// One file, or one folder of files.
struct FileSystem {
    settings: Settings,
    clock: Clock,
    page_bytes: u64,
    /// What both ends of an end of a link share, by consumer.
    trails: Mutex<HashMap<String, Trail>>,
}

impl FileSystem {
    fn plan(&self, stream: &StreamSpec) -> Result<Arc<Plan>, Fault> {
        let target = self.settings.target(stream, &self.clock)?;
        let mut trails = self.trails.lock().unwrap_or_else(PoisonError::into_inner);
        let trail = trails.entry(stream.consumer.clone()).or_default().clone();
        let (key, fields) = (stream.key.clone(), stream.fields.clone());
        Ok(Arc::new(Plan { target, key, fields, page_bytes: self.page_bytes, trail }))
    }
}

#[async_trait]
impl System for FileSystem {
    fn features(&self, _stream: &StreamSpec) -> Features {
        Features {
            deletes: Deletes::Scanned,
            compare_and_set: true,
            upsert_by_key: true,
            batch_max: 10_000,
            request_max: 10_000,
            in_flight_max: 1,
            loads: true,
            bulk: None,
        }
    }

    async fn describe(&self, stream: &StreamSpec, _call: &Call) -> Result<StreamInfo, Fault> {
        let plan = self.plan(stream)?;
        let work = move || describe(&plan).map_err(|broken| broken.into_fault(&plan.target.path));
        tokio::task::spawn_blocking(work).await.map_err(|_| interrupted())?
    }

    fn source(&self, stream: &StreamSpec) -> Result<Box<dyn Source>, Fault> {
        Ok(Box::new(FileSource::new(self.plan(stream)?)))
    }

    fn destination(&self, stream: &StreamSpec) -> Result<Arc<dyn Destination>, Fault> {
        Ok(Arc::new(NoBytes::new(FileDestination::new(self.plan(stream)?), "a text file")))
    }

    fn watch(&self, stream: &StreamSpec) -> Vec<PathBuf> {
        let Ok(target) = self.settings.target(stream, &self.clock) else { return Vec::new() };
        let mut paths = vec![target.path];
        // Behind a link the file itself is what changes.
        let real = paths.first().and_then(|path| std::fs::canonicalize(path).ok());
        paths.extend(real.filter(|real| !paths.contains(real)));
        paths
    }
}

/// Learns the fields: from the header, or from the first records.
fn describe(plan: &Plan) -> Result<StreamInfo, Broken> {
    let place = Place::find(&plan.target.path)?;
    let Some(snapshot) = Snapshot::open(&plan.target, &place)? else {
        return Ok(StreamInfo { fields: Vec::new(), open: true, ..StreamInfo::default() });
    };
    let (format, delimiter) = (plan.target.format, plan.target.delimiter);
    let mut reader = Reader::open(snapshot.reader()?, format, delimiter, &plan.key, None)?;
    let mut seen = 0;
    while format != Format::Csv && seen < DESCRIBED_MAX && reader.next()?.is_some() {
        seen += 1;
    }
    let schema = reader.schema();
    if let Some(key) = plan.key.iter().find(|key| seen > 0 && schema.position(key).is_none()) {
        return Err(Broken::Key(key.clone()));
    }
    Ok(StreamInfo {
        fields: schema.names().map(str::to_owned).collect(),
        open: true,
        ..StreamInfo::default()
    })
}
