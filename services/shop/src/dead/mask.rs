//! Makes what is shown fit to be shown to somebody who looks over a shoulder, or in a ticket.

use serde_json::Value;

/// Masks mail addresses and card tokens in a message.
pub(super) fn value(value: &mut Value) {
    match value {
        Value::String(string) => *string = text(string),
        Value::Array(items) => items.iter_mut().for_each(self::value),
        Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    Value::String(token) if name == "card_token" => *token = "***".to_owned(),
                    other => self::value(other),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Masks the mail addresses in a text: of `ada@example.com` stays `a***@example.com`.
pub(super) fn text(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('@') {
        let (before, domain) = rest.split_at(at);
        let start = before
            .rfind(|c| !is_local(c))
            .map_or(0, |last| last + before[last..].chars().next().map_or(1, char::len_utf8));
        let (other, local) = before.split_at(start);
        masked.push_str(other);
        masked.extend(local.chars().next());
        if !local.is_empty() {
            masked.push_str("***");
        }
        masked.push('@');
        rest = &domain[1..];
    }
    masked.push_str(rest);
    masked
}

/// Whether a character can be in an address, before its `@`, without quotes.
fn is_local(c: char) -> bool {
    c.is_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(c)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_an_address_stays_its_first_letter() {
        for (plain, masked) in [
            ("ada@example.com", "a***@example.com"),
            ("550 <ada.l+x@example.com>: no such user", "550 <a***@example.com>: no such user"),
            ("übel@x.de, b@y.de", "ü***@x.de, b***@y.de"),
            ("„a@b“", "„a***@b“"),
            ("@ alone, nothing@", "@ alone, n***@"),
            ("none", "none"),
        ] {
            assert_eq!(text(plain), masked);
        }
    }

    #[test]
    fn addresses_and_tokens_are_masked_wherever_they_are() {
        let mut message = json!({
            "customer": {"email": "ada@example.com", "name": "Ada"},
            "card_token": "tok_visa",
            "lines": [{"sku": "mug-blue", "quantity": 1, "note": "for bob@example.com"}],
        });
        value(&mut message);
        let masked = json!({
            "customer": {"email": "a***@example.com", "name": "Ada"},
            "card_token": "***",
            "lines": [{"sku": "mug-blue", "quantity": 1, "note": "for b***@example.com"}],
        });
        assert_eq!(message, masked);
    }
}
