//! Views of a Rust source text for rules that search for words: without comments and literals, and
//! without its test modules.
//!
//! A scanner, not a parser: it knows comments, strings and characters, and it takes well-formatted
//! code (`cargo fmt`) as given.

/// The text with the content of comments, strings and characters blanked; lines keep their numbers.
pub(crate) fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => end_of_line(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => end_of_block(&chars, at),
            '"' => end_of_string(&chars, at),
            'r' if !follows_name(&chars, at) => end_of_raw_string(&chars, at),
            '\'' => end_of_character(&chars, at),
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// The numbered lines outside of `#[cfg(test)] mod … { … }` at the top level of the file; none for
/// a file that says `#![cfg(test)]` of itself.
pub(crate) fn production_lines(text: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    if lines.contains(&"#![cfg(test)]") {
        return Vec::new();
    }
    let mut kept = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if starts_test_module(&lines[at..]) {
            while at < lines.len() && lines[at] != "}" {
                at += 1;
            }
        } else {
            kept.push((at + 1, lines[at]));
        }
        at += 1;
    }
    kept
}

fn starts_test_module(lines: &[&str]) -> bool {
    lines[0] == "#[cfg(test)]"
        && lines[1..].iter().find(|line| !line.starts_with("#[")).is_some_and(|line| {
            (line.starts_with("mod ") || line.contains(" mod ")) && line.ends_with('{')
        })
}

fn end_of_line(chars: &[char], start: usize) -> usize {
    chars[start..].iter().position(|&c| c == '\n').map_or(chars.len(), |length| start + length)
}

fn end_of_block(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// `r"…"` or `r#"…"#`; the start itself when this `r` begins something else.
fn end_of_raw_string(chars: &[char], start: usize) -> usize {
    let hashes = chars[start + 1..].iter().take_while(|&&c| c == '#').count();
    let open = start + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return start;
    }
    let closes = |at: &usize| {
        chars[*at] == '"'
            && chars[at + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes
    };
    (open + 1..chars.len()).find(closes).map_or(chars.len(), |at| at + 1 + hashes)
}

/// `'x'` or `'\n'`; the start itself for a lifetime.
fn end_of_character(chars: &[char], start: usize) -> usize {
    if chars.get(start + 1) == Some(&'\\') {
        let close = chars.iter().skip(start + 3).position(|&c| c == '\'');
        return close.map_or(chars.len(), |length| start + 3 + length + 1);
    }
    if chars.get(start + 2) == Some(&'\'') { start + 3 } else { start }
}

fn follows_name(chars: &[char], at: usize) -> bool {
    let Some(&before) = at.checked_sub(1).and_then(|before| chars.get(before)) else {
        return false;
    };
    let is_prefix = matches!(before, 'b' | 'c')
        && !at.checked_sub(2).is_some_and(|i| chars[i].is_alphanumeric() || chars[i] == '_');
    (before.is_alphanumeric() || before == '_') && !is_prefix
}

#[cfg(test)]
mod tests {
    use super::{code_only, production_lines};

    #[test]
    fn comments_and_literals_are_blanked() {
        for (source, kept) in [
            ("a // b\nc", "a c"),
            ("a /* b /* c */ d */ e", "a e"),
            (r#"f("b \" c", d)"#, "f( , d)"),
            (r##"f(r#"b " c"#, d)"##, "f( , d)"),
            (r##"f(br#"b"#, 'x', '\'', '\u{1f}', d)"##, "f(b , , , , d)"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("r#type + for_r\"x\"", "r#type + for_r"),
            ("\"a\nb\" c", "c"),
        ] {
            let code = code_only(source);
            assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), kept, "{source}");
            assert_eq!(code.lines().count(), source.lines().count(), "{source}");
        }
    }

    #[test]
    fn test_modules_are_left_out_and_what_follows_is_not() {
        let text = "//! doc\n#[cfg(test)]\nmod far;\nfn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
        let kept: Vec<usize> =
            production_lines(text).into_iter().map(|(number, _)| number).collect();
        assert_eq!(kept, [1, 2, 3, 4, 10]);
    }
}
