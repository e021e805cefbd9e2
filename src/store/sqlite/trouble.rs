//! What goes wrong below, told in the store's own errors.

use rusqlite::ErrorCode;

use super::super::StoreError;

/// A failure inside one call, before it is known which file it is about.
#[derive(Debug)]
pub(super) enum Trouble {
    Sql(rusqlite::Error),
    /// What was read is not what this store writes.
    Damaged(String),
    /// Anything else that stands in the way.
    Unusable(String),
}

pub(super) type Fallible<T> = Result<T, Trouble>;

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl Trouble {
    /// Classifies the failure.
    pub fn into_error(self, path: &str) -> StoreError {
        let corrupt = |detail: String| StoreError::Corrupt { path: path.to_owned(), detail };
        match self {
            Self::Damaged(detail) => corrupt(detail),
            Self::Unusable(what) => StoreError::Io(format!("{path}: {what}")),
            Self::Sql(error) => match &error {
                rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
                    ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => corrupt(error.to_string()),
                    ErrorCode::DiskFull => StoreError::Full(format!("{path}: {error}")),
                    _ => StoreError::Io(format!("{path}: {error}")),
                },
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::Utf8Error(..)
                | rusqlite::Error::InvalidColumnType(..) => corrupt(error.to_string()),
                _ => StoreError::Io(format!("{path}: {error}")),
            },
        }
    }
}

/// Says that a stored value is none that this store writes.
pub(super) fn damaged(what: &str) -> Trouble {
    Trouble::Damaged(format!("{what} can't be read"))
}
