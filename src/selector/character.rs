//! Decides which characters stand for themselves, in a text that people compare by eye.

/// Whether `c` would be invisible, would move the cursor or would reorder what stands beside it.
///
/// Control characters, every white space but the plain space, marks of writing direction, joiners and
/// fillers of no width, and language tags. After Unicode Technical Report 36.
pub(super) fn is_hidden(c: char) -> bool {
    c.is_control()
        || (c.is_whitespace() && c != ' ')
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Whether `c` may stand in a word without quotes: what versions, addresses, sizes and paths are made of.
pub(super) fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '+' | '~' | '^' | ':' | '%' | '@')
}

/// Whether `c` may stand without quotes between two dots of a path.
pub(super) fn is_segment(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+')
}

/// Names `c` for a message: itself where it can be seen, else its number.
pub(super) fn named(c: char) -> String {
    match c {
        ' ' => "a space".to_owned(),
        _ if is_hidden(c) => format!("U+{:04X}", u32::from(c)),
        _ => c.to_string(),
    }
}

/// Writes `text` as a quoted string of the language.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            _ if is_hidden(c) => out.extend(c.escape_unicode()),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}
