//! The words of a line, and those of a script's command line: keepalived.conf(5), *Quoted strings*.

use super::error::Fault;
use std::iter::Peekable;
use std::str::Chars;

/// A part of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Word(Word),
    /// `{`
    Open,
    /// `}`
    Close,
}

/// A word without its quotation marks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    /// With what its backslashes stand before still to be found out: scripts have words within words.
    pub(super) raw: String,
    /// Part of it stood in quotation marks.
    pub(super) quoted: bool,
}

/// The words and braces of a line.
///
/// # Errors
/// A placeholder of a template, or a quotation mark without a second one.
pub(super) fn tokens(line: &str) -> Result<Vec<Token>, Fault> {
    if ["{{", "{%", "<%", "%>"].iter().any(|mark| line.contains(mark)) {
        return Err(Fault::Template);
    }
    let mut tokens = Vec::new();
    let mut characters = line.chars().peekable();
    while let Some(&c) = characters.peek() {
        match c {
            ' ' | '\t' => {
                characters.next();
            }
            '{' | '}' => {
                tokens.push(if c == '{' { Token::Open } else { Token::Close });
                characters.next();
            }
            _ => {
                let word = word(&mut characters, true)?;
                if is_placeholder(&word) {
                    return Err(Fault::Template);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Ok(tokens)
}

/// The next word, which a brace ends where `braces` mean something.
fn word(characters: &mut Peekable<Chars<'_>>, braces: bool) -> Result<Word, Fault> {
    let mut word = Word::default();
    let mut quote = None;
    // `${NAME}` that nobody defined stays one word.
    let mut in_name = false;
    while let Some(&c) = characters.peek() {
        match (c, quote) {
            (' ' | '\t', None) => break,
            ('{', None) if word.text.ends_with('$') => in_name = true,
            ('}', None) if in_name => in_name = false,
            ('{' | '}', None) if braces => break,
            ('"' | '\'', None) if c == '"' || closes(characters) => {
                (quote, word.quoted) = (Some(c), true);
                characters.next();
                continue;
            }
            ('\\', _) => {
                characters.next();
                word.raw.extend(std::iter::once('\\').chain(characters.peek().copied()));
                word.text.extend(escaped(characters, &mut word.raw));
                continue;
            }
            _ if quote == Some(c) => {
                quote = None;
                characters.next();
                continue;
            }
            _ => {}
        }
        word.text.push(c);
        word.raw.push(c);
        characters.next();
    }
    if quote.is_some() { Err(Fault::OpenQuote) } else { Ok(word) }
}

/// Whether the apostrophe that comes next has a second one: else it is one of a name's.
fn closes(characters: &Peekable<Chars<'_>>) -> bool {
    characters.clone().skip(1).any(|c| c == '\'')
}

/// `<VIP>`, `@VIP@`, `%VIP%`: what tools put values in for.
fn is_placeholder(word: &Word) -> bool {
    let name = |open: char, close: char| {
        let name = word.text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
        name.is_some_and(|name| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
        })
    };
    !word.quoted && (name('<', '>') || name('@', '@') || name('%', '%'))
}

/// What stands for a character, after its backslash; what it is longer than one character by is added to `raw`.
fn escaped(characters: &mut Peekable<Chars<'_>>, raw: &mut String) -> Option<char> {
    let c = characters.next()?;
    let mut digits = |characters: &mut Peekable<Chars<'_>>, first: u32, radix: u32, most: usize| {
        let mut value = first;
        for _ in 0..most {
            let Some((c, digit)) = characters.peek().and_then(|c| Some((*c, c.to_digit(radix)?))) else { break };
            value = value * radix + digit;
            raw.push(c);
            characters.next();
        }
        char::from_u32(value).filter(|c| *c != '\0')
    };
    match c {
        'a' => Some('\u{7}'),
        'b' => Some('\u{8}'),
        'E' => Some('\u{1b}'),
        'f' => Some('\u{c}'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\u{b}'),
        'x' => digits(characters, 0, 16, 2),
        'c' => {
            let c = characters.next()?;
            raw.push(c);
            char::from_u32(u32::from(c) & 0x1f).filter(|c| *c != '\0')
        }
        c => match c.to_digit(8) {
            Some(first) => digits(characters, first, 8, 2),
            None => Some(c),
        },
    }
}

/// A script's command line, as it is within its quotation marks, in words.
///
/// # Errors
/// A quotation mark without a second one.
pub(super) fn command(raw: &str) -> Result<Vec<String>, Fault> {
    let mut words = Vec::new();
    let mut characters = raw.chars().peekable();
    while let Some(&c) = characters.peek() {
        if c.is_ascii_whitespace() {
            characters.next();
        } else {
            words.push(word(&mut characters, false)?.text);
        }
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Vec<String> {
        let tokens = tokens(line).unwrap();
        let text = |token| match token {
            Token::Word(word) => word.text,
            Token::Open => "{".into(),
            Token::Close => "}".into(),
        };
        tokens.into_iter().map(text).collect()
    }

    #[test]
    fn quotation_marks_hold_words_together() {
        assert_eq!(split("abcd\" efg h jkl \"mnop"), ["abcd efg h jkl mnop"]);
        assert_eq!(split("abcd \"efg h jkl\" mnop"), ["abcd", "efg h jkl", "mnop"]);
        assert_eq!(split("script 'killall -0 haproxy'"), ["script", "killall -0 haproxy"]);
        assert_eq!(split("router_id bob's"), ["router_id", "bob's"]);
        assert_eq!(split("a \"\" b"), ["a", "", "b"]);
        assert_eq!(tokens("a \"b"), Err(Fault::OpenQuote));
    }

    #[test]
    fn a_backslash_stands_before_what_cannot_be_typed() {
        assert_eq!(split(r#""a\x20b\t\"c\\d\101\q""#), ["a b\t\"c\\dAq"]);
        assert_eq!(split(r"a\"), ["a"]);
    }

    #[test]
    fn what_nobody_defined_stays_as_it_is() {
        assert_eq!(split("${NAME}.1 x{y}"), ["${NAME}.1", "x", "{", "y", "}"]);
    }

    #[test]
    fn a_placeholder_of_a_template_is_refused() {
        for line in ["interface {{ LOCAL_IP }}", "<VIRTUAL_IP>/24", "x <VIP>", "{% if a %}", "priority @PRIO@", "%VIP%"]
        {
            match tokens(line) {
                Err(Fault::Template) => {}
                Ok(tokens) if line == "<VIRTUAL_IP>/24" => assert_eq!(tokens.len(), 1),
                other => panic!("{line}: {other:?}"),
            }
        }
        assert_eq!(split("script \"</dev/tcp/127.0.0.1/80\""), ["script", "</dev/tcp/127.0.0.1/80"]);
    }

    #[test]
    fn a_command_line_is_split_once_more() {
        let commanded = |line: &str| {
            let tokens = tokens(line).unwrap();
            let Token::Word(word) = &tokens[1] else { panic!("{tokens:?}") };
            command(&word.raw).unwrap()
        };
        // As the example of notify_master in keepalived.conf(5).
        let line = r#"notify_master "/etc/x.sh ' spaces\\x20f\x69le ' '\"s p a c e \"' SG1.low master" user group"#;
        assert_eq!(split(line)[2..], ["user", "group"]);
        assert_eq!(commanded(line), ["/etc/x.sh", " spaces\\x20file ", "\"s p a c e \"", "SG1.low", "master"]);
        assert_eq!(commanded("script \"  a  'b c' \""), ["a", "b c"]);
        assert_eq!(commanded(r#"script "a \"b c\" {d} \101""#), ["a", "\"b", "c\"", "{d}", "A"]);
        assert_eq!(command(""), Ok(Vec::new()));
        assert_eq!(command("a 'b c"), Ok(vec!["a".into(), "'b".into(), "c".into()]));
        assert_eq!(command("a \"b c"), Err(Fault::OpenQuote));
    }
}
