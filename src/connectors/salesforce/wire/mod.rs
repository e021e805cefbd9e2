//! The wire form of Salesforce, pure: what is sent, what comes back, what a refusal means.

mod bulk;
mod classify;
mod describe;
mod ids;
mod replication;
mod rows;
mod save;
mod soql;
mod time;
mod version;

pub use bulk::{Csv, JobInfo, Told, cell, ingest_body, query_body};
pub use classify::{Refusal, classify, is_not_there, item_fault, job_trouble, report};
pub use describe::{Described, Kind, is_name};
pub use ids::{id_check, long_id};
pub use replication::{Gone, Unheard, decode_deleted, deleted_path, unheard};
pub use rows::{Columns, Row, decode_count, decode_page, decode_rows};
pub use save::{SaveItem, decode_saves, flag_of, push_member, save_body};
pub use soql::{in_conditions, keyset, quoted, select};
pub use time::{format_datetime, parse_datetime};
pub use version::{API_VERSION, nearest_version};
