//! Why the content of a file as a whole can't be used, and what that means.
//!
//! A file that ends too early may simply be in the middle of being written, so nearly everything
//! here is worth another try; what only a person can mend is fatal and says how.

use std::io;
use std::path::Path;

use crate::engine::fault::{Fault, FaultCode};

/// What is wrong with a whole file, as opposed to one record in it.
#[derive(Debug)]
pub(super) enum Broken {
    /// Not a single byte: a writer has truncated it and not yet written.
    NoBytes,
    /// It ends in the middle of a record or of the list.
    Torn(&'static str),
    /// Something stands between two records that does not belong there.
    Syntax {
        offset: u64,
        expected: &'static str,
    },
    /// One record is longer than we are willing to hold.
    TooLong {
        offset: u64,
    },
    Utf16,
    /// The first line does not name the columns.
    Header(String),
    /// No record has the key field.
    Key(String),
    /// It is no longer what it was when it was opened.
    Changed,
    /// It was there before.
    Vanished,
    Missing,
    Folder,
    Read(io::Error),
    /// The copy beside the file could not be written.
    Write(io::Error),
}

impl Broken {
    /// Tells whether a moment of patience may mend it.
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::NoBytes | Self::Torn(_) | Self::Syntax { .. } | Self::Changed | Self::Vanished)
    }

    /// Says it as a fault about this file.
    pub(super) fn into_fault(self, path: &Path) -> Fault {
        let file = path.display();
        let torn = |message: String, remedy: &str| Fault {
            remedy: Some(remedy.to_owned()),
            ..Fault::transient(FaultCode::Unavailable, message)
        };
        match self {
            Self::NoBytes => torn(
                format!("{file} has no bytes: it is being written, or was cut off"),
                "if it is meant to hold no records, write [] (json), a header line (csv) or an empty line (jsonl)",
            ),
            Self::Torn(what) => torn(
                format!("{file} ends {what}: it is being written, or was cut off"),
                "it is read again shortly; if nobody is writing it, mend its end",
            ),
            Self::Syntax { offset, expected } => torn(
                format!("{file} is not well formed at byte {offset}: expected {expected}"),
                "it is read again shortly; if nobody is writing it, mend it there",
            ),
            Self::Changed => torn(
                format!("{file} changed while it was being read or written"),
                "it is read again shortly; nothing is to be done",
            ),
            Self::Vanished => torn(
                format!("{file} is gone, although it was there before"),
                "put it back; to start again from nothing, restart record-sync",
            ),
            Self::TooLong { offset } => Fault::fatal(
                FaultCode::Protocol,
                format!("{file} has a record of more than 16 MiB at byte {offset}"),
                "close the quote or bracket that is left open there",
            ),
            Self::Utf16 => Fault::fatal(
                FaultCode::Protocol,
                format!("{file} is not UTF-8"),
                "save it as UTF-8, not UTF-16",
            ),
            Self::Header(what) => Fault::fatal(
                FaultCode::Configuration,
                format!("the header of {file} does not fit: {what}"),
                "make the first line name every column, the key's among them",
            ),
            Self::Key(key) => Fault::fatal(
                FaultCode::Configuration,
                format!("no record in the first part of {file} has the field {key}, which is the key's"),
                "correct `key` of this end of the link",
            ),
            Self::Missing => Fault::fatal(
                FaultCode::NotFound,
                format!("{file} does not exist"),
                "correct `path`, or set `create = true` to start with an empty one",
            ),
            Self::Folder => Fault::fatal(
                FaultCode::Configuration,
                format!("{file} is a folder"),
                "name a file: `path`, or `stream` inside the folder `path`",
            ),
            Self::Read(error) => io_fault("read", path, &error),
            Self::Write(error) => io_fault("write beside", path, &error),
        }
    }
}

/// Classifies an error of the operating system.
fn io_fault(operation: &str, path: &Path, error: &io::Error) -> Fault {
    let message = format!("can't {operation} {}: {error}", path.display());
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "give record-sync the right to read and write the file and its folder"
        }
        io::ErrorKind::ReadOnlyFilesystem => "mount the file system writable, or use another `path`",
        io::ErrorKind::NotFound => "make the folder, or correct `path`",
        io::ErrorKind::NotADirectory => "correct `path`: a part of it is a file",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            return Fault {
                remedy: Some("free space on the volume".to_owned()),
                ..Fault::transient(FaultCode::Storage, message)
            };
        }
        _ => return Fault::transient(FaultCode::Storage, message),
    };
    Fault::fatal(FaultCode::Storage, message, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fault::FaultKind;

    #[test]
    fn faults_say_whether_patience_helps() {
        // (what is wrong, kind, why)
        let cases = [
            (Broken::NoBytes, FaultKind::Transient, "a writer truncates before it writes"),
            (Broken::Torn("inside a record"), FaultKind::Transient, "a writer is not done"),
            (Broken::Vanished, FaultKind::Transient, "some writers delete before they rename"),
            (Broken::Utf16, FaultKind::Fatal, "no patience makes it UTF-8"),
            (Broken::Header("it is gone".into()), FaultKind::Fatal, "rows under no names mean nothing"),
            (
                Broken::Read(io::ErrorKind::PermissionDenied.into()),
                FaultKind::Fatal,
                "a person grants rights",
            ),
            (Broken::Write(io::ErrorKind::StorageFull.into()), FaultKind::Transient, "space comes back"),
        ];
        for (broken, kind, why) in cases {
            let fault = broken.into_fault(Path::new("users.csv"));
            assert_eq!(fault.kind, kind, "{why}");
            assert!(fault.remedy.is_some(), "{why}");
            assert!(fault.message.contains("users.csv"), "{why}");
        }
    }
}
