//! How dead letters are printed.

use std::time::Duration;

use broker::DeadLetter;
use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, presets::NOTHING};
use contracts::{Header, Timestamp};
use serde_json::{Value, json};

use super::mask;
use crate::terminal::{say, width};

/// In a terminal that is narrower, lines break rather than say nothing of the error.
const NARROWEST: u16 = 110;

/// Prints all of them, a line or an object each.
pub(super) fn list(letters: &[DeadLetter], json: bool, reveal: bool) -> serde_json::Result<()> {
    if json {
        let all: Vec<Value> = letters.iter().map(|letter| summary(letter, reveal)).collect();
        say(serde_json::to_string_pretty(&all)?);
    } else if letters.is_empty() {
        say("no dead letters");
    } else {
        say(table(letters, reveal, Timestamp::now()).trim_fmt());
    }
    Ok(())
}

/// Prints one with its message.
pub(super) fn one(letter: &DeadLetter, json: bool, reveal: bool) -> serde_json::Result<()> {
    let message = message(letter, reveal);
    if json {
        let mut all = summary(letter, reveal);
        all["message"] = message;
        say(serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    let history = &letter.history;
    let time = |time: Option<Timestamp>| time.map_or("unknown".to_owned(), |time| time.to_string());
    let error = history.error.as_deref().unwrap_or("unknown");
    let error = if reveal { error.to_owned() } else { mask::text(error) };
    for (name, text) in [
        ("id", letter.id.to_string()),
        ("queue", letter.queue.clone()),
        ("routing key", letter.routing_key.clone()),
        ("type", kind(letter).unwrap_or_else(|| "no CloudEvents envelope".to_owned())),
        ("error", error),
        ("failures", history.failures.to_string()),
        ("first failure", time(history.first_failed_at)),
        ("last failure", time(history.last_failed_at)),
        ("replays", history.replays.to_string()),
        ("trace", history.traceparent.clone().unwrap_or_else(|| "none".to_owned())),
    ] {
        say(format_args!("{name:<14} {text}"));
    }
    match message {
        Value::String(text) => say(format_args!("\n{text}")),
        message => say(format_args!("\n{}", serde_json::to_string_pretty(&message)?)),
    }
    say("");
    Ok(())
}

/// The letter without its message.
fn summary(letter: &DeadLetter, reveal: bool) -> Value {
    let history = &letter.history;
    let error = history
        .error
        .as_deref()
        .map(|error| if reveal { error.to_owned() } else { mask::text(error) });
    json!({
        "id": letter.id,
        "queue": letter.queue,
        "type": kind(letter),
        "routing_key": letter.routing_key,
        "error": error,
        "failures": history.failures,
        "first_failed_at": history.first_failed_at,
        "last_failed_at": history.last_failed_at,
        "replays": history.replays,
        "traceparent": history.traceparent,
    })
}

/// The message inside: JSON, or text for bytes that are none.
fn message(letter: &DeadLetter, reveal: bool) -> Value {
    let mut message = serde_json::from_slice(&letter.body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&letter.body).into_owned()));
    if !reveal {
        mask::value(&mut message);
    }
    message
}

fn kind(letter: &DeadLetter) -> Option<String> {
    Header::of(&letter.body).map(|header| header.kind)
}

/// A line each, as wide as the terminal; without one, as wide as it gets.
fn table(letters: &[DeadLetter], reveal: bool, now: Timestamp) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["id", "queue", "type", "failures", "last", "error"]);
    for letter in letters {
        let error = letter.history.error.as_deref().unwrap_or_default().replace('\n', " ");
        let error = if reveal { error } else { mask::text(&error) };
        let mut row = Row::from([
            letter.id.to_string(),
            letter.queue.clone(),
            short(&kind(letter).unwrap_or_else(|| letter.routing_key.clone())),
            letter.history.failures.to_string(),
            letter.history.last_failed_at.map_or_else(String::new, |at| ago(now.since(at))),
            error,
        ]);
        row.max_height(1);
        table.add_row(row);
    }
    if let Some(width) = width() {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width.max(NARROWEST));
        // Only the error gives way.
        for column in table.column_iter_mut().take(5) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table
}

/// A type without what all types begin with.
fn short(kind: &str) -> String {
    kind.strip_prefix("com.example.shop.").unwrap_or(kind).to_owned()
}

/// A time span in its largest unit.
fn ago(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s ago"),
        60..3_600 => format!("{}m ago", seconds / 60),
        3_600..86_400 => format!("{}h ago", seconds / 3_600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use broker::History;
    use uuid::Uuid;

    use super::*;

    fn letter(body: &str) -> DeadLetter {
        let error = Some("550 <ada@example.com>\nno such user".to_owned());
        DeadLetter {
            id: Uuid::nil(),
            queue: "email".to_owned(),
            routing_key: "order.placed".to_owned(),
            body: body.into(),
            history: History { failures: 6, error, ..History::default() },
        }
    }

    #[test]
    fn a_list_has_a_line_per_letter() {
        let letters = [letter("junk"), letter("junk")];
        let text = table(&letters, false, Timestamp::default()).trim_fmt();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(text.contains("550 <a***@example.com> no such user"), "{text}");
    }

    #[test]
    fn bytes_that_are_no_message_are_shown_as_text() {
        assert_eq!(message(&letter("to ada@example.com"), false), json!("to a***@example.com"));
        assert_eq!(message(&letter("to ada@example.com"), true), json!("to ada@example.com"));
    }

    #[test]
    fn a_time_span_is_short() {
        for (seconds, text) in
            [(5, "5s ago"), (61, "1m ago"), (7_200, "2h ago"), (200_000, "2d ago")]
        {
            assert_eq!(ago(Duration::from_secs(seconds)), text);
        }
    }
}
