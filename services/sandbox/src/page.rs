//! A part of a long list.

use runtime::Problem;

/// What an answer may hold at most.
const LARGEST: usize = 10_000;

/// Which part of a list to show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    /// How many to leave out at the start.
    pub(crate) offset: usize,
    /// How many to show at most.
    pub(crate) limit: usize,
}

impl Page {
    /// The page that was asked for; by default the first 1,000.
    ///
    /// # Errors
    /// When more is asked for than one answer may hold (400).
    pub(crate) fn new(offset: Option<usize>, limit: Option<usize>) -> Result<Self, Problem> {
        let limit = limit.unwrap_or(1_000);
        if limit > LARGEST {
            let detail = format!("limit is at most {LARGEST}; page with offset");
            return Err(Problem::bad_request(detail));
        }
        Ok(Self { offset: offset.unwrap_or(0), limit })
    }

    /// This part of the list.
    pub(crate) fn of<T>(self, list: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
        list.into_iter().skip(self.offset).take(self.limit)
    }
}
