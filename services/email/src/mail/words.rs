//! Making text from outside harmless.

use std::fmt::{Display, Formatter, Result, Write as _};

/// One line of at most `max` characters: every run of white space and control characters becomes one space, and characters
/// that change the direction of what follows are left out (they make text look like another).
#[must_use]
pub fn one_line(text: &str, max: usize) -> String {
    let mut line = String::with_capacity(text.len().min(4 * max));
    let mut gap = false;
    for c in text.chars().filter(|c| !turns_direction(*c)) {
        if c.is_whitespace() || c.is_control() {
            gap = !line.is_empty();
        } else {
            if std::mem::take(&mut gap) {
                line.push(' ');
            }
            line.push(c);
        }
    }
    let end = line.char_indices().nth(max).map_or(line.len(), |(at, _)| at);
    line.truncate(end);
    line
}

/// Unicode's bidirectional controls, <https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters>.
const fn turns_direction(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text inside an HTML element or a quoted attribute.
pub(super) struct Html<'t>(pub(super) &'t str);

impl Display for Html<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            f.write_str(&rest[..at])?;
            f.write_str(match rest.as_bytes()[at] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &rest[at + 1..];
        }
        f.write_str(rest)
    }
}

/// What `write!` into a String returns; it can't fail.
pub(super) fn put(into: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = into.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line() {
        assert_eq!(
            one_line("  Ada\r\nBcc: x@example.com\t\u{2028}L.\0 ", 80),
            "Ada Bcc: x@example.com L."
        );
        assert_eq!(one_line("\r\n\t ", 80), "");
    }

    #[test]
    fn a_name_is_cut_between_characters() {
        assert_eq!(one_line("ééééé", 3), "ééé");
    }

    #[test]
    fn direction_overrides_are_left_out() {
        assert_eq!(one_line("Ada\u{202e}gro.live\u{2069}", 80), "Adagro.live");
    }

    #[test]
    fn html_is_escaped() {
        let escaped = Html("<b title=\"x\">'Tom' & Jérôme</b>").to_string();
        assert_eq!(escaped, "&lt;b title=&quot;x&quot;&gt;&#39;Tom&#39; &amp; Jérôme&lt;/b&gt;");
    }
}
