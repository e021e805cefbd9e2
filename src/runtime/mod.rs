//! Everything that does: the tasks that carry out what the engine decides.

pub mod clock;
pub mod contact;
pub mod fuse;
pub mod gate;
pub mod inline;
pub mod link;
pub mod overrides;
pub mod page;
pub mod poller;
pub mod push;
pub mod scan;
pub mod watch;
pub mod worker;
