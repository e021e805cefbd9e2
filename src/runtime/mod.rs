//! Everything that does: the tasks that carry out what the engine decides.

pub mod book;
pub mod clock;
pub mod contact;
pub mod fuse;
pub mod gate;
pub mod inline;
pub mod janitor;
mod limits;
pub mod link;
pub mod meter;
pub mod open;
pub mod operate;
pub mod overrides;
pub mod page;
pub mod pass;
pub mod poller;
mod presence;
pub mod push;
mod recheck;
mod relay;
pub mod reload;
pub mod scan;
mod settle;
pub mod supervisor;
mod verdict;
pub mod watch;
pub mod worker;
