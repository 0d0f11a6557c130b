//! One statement over many rows: `{}` in its text becomes a `VALUES` list's rows, `($1, $2), ($3, $4), …`.

use std::fmt::Write as _;

use sqlx::{postgres::PgArguments, sqlite::SqliteArguments};

use crate::{Bind, Error, Result, query::Values};

/// Rows of a `VALUES` list at most; both engines allow several times as many values as this makes.
const MAX_ROWS: usize = 128;

/// Whose encoding the values need.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Engine {
    Postgres,
    Sqlite,
}

/// The values of one row.
pub struct RowValues<'v> {
    values: &'v mut Values,
    error: &'v mut Option<Error>,
}

impl RowValues<'_> {
    /// The value of the row's next column.
    #[must_use = "the row is handed back by the closure"]
    pub fn bind<T: Bind>(self, value: T) -> Self {
        if let Err(error) = self.values.add(value) {
            self.error.get_or_insert(error);
        }
        self
    }
}

/// One statement per chunk of rows; three at most for [`MAX_ROWS`].
pub(crate) fn statements<T>(
    engine: Engine,
    sql: &str,
    rows: &[T],
    bind: impl for<'v> Fn(RowValues<'v>, &T) -> RowValues<'v>,
) -> Result<Vec<(String, Values)>> {
    let mut statements = Vec::new();
    let mut rest = rows;
    while !rest.is_empty() {
        let size = chunk(rest.len());
        let (chunk, others) = rest.split_at(size);
        rest = others;
        let mut values = match engine {
            Engine::Postgres => Values::Postgres(PgArguments::default()),
            Engine::Sqlite => Values::Sqlite(SqliteArguments::default()),
        };
        let mut error = None;
        for row in chunk {
            let _ = bind(RowValues { values: &mut values, error: &mut error }, row);
        }
        if let Some(error) = error {
            return Err(error);
        }
        let placeholders = placeholders(size, values.len() / size);
        statements.push((sql.replacen("{}", &placeholders, 1), values));
    }
    Ok(statements)
}

/// The size of the next chunk. There are four sizes between a power of two and the next, so that few texts arise, which stay
/// prepared, and yet few statements are needed.
fn chunk(rows: usize) -> usize {
    let rows = rows.min(MAX_ROWS);
    let step = (rows.next_power_of_two() / 8).max(1);
    rows - rows % step
}

/// `($1, $2), ($3, $4)` for two rows of two columns.
fn placeholders(rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows * columns * 6);
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 1..=columns {
            let comma = if column == 1 { "" } else { ", " };
            // Writing to a String can't fail.
            let _ = write!(text, "{comma}${}", row * columns + column);
        }
        text.push(')');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_few_sizes() {
        let rows: Vec<i64> = (0..300).collect();
        let made =
            statements(Engine::Sqlite, "IN (VALUES {})", &rows, |row, n| row.bind(*n)).unwrap();
        let sizes: Vec<usize> = made.iter().map(|(_, values)| values.len()).collect();
        assert_eq!(sizes, [128, 128, 40, 4]);
        let all: std::collections::HashSet<usize> = (1..=MAX_ROWS).map(chunk).collect();
        assert!(all.len() <= 24, "{all:?}");
    }

    #[test]
    fn placeholders_count_on() {
        assert_eq!(placeholders(2, 3), "($1, $2, $3), ($4, $5, $6)");
    }
}
