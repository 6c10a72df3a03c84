//! Splits a command line into arguments. Pure.

/// Splits at spaces outside of double quotes; `\"` is a quote. An empty argument has to be quoted.
pub(super) fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut is_word, mut is_quoted) = (String::new(), false, false);
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' if rest.peek() == Some(&'"') => {
                word.extend(rest.next());
                is_word = true;
            }
            '"' => {
                is_quoted = !is_quoted;
                is_word = true;
            }
            c if c.is_whitespace() && !is_quoted => {
                if is_word {
                    words.push(std::mem::take(&mut word));
                }
                is_word = false;
            }
            c => {
                word.push(c);
                is_word = true;
            }
        }
    }
    if is_word {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_end_at_spaces_outside_of_quotes() {
        assert_eq!(split(" a  -b=\"c d\" \"\" e\\\"f C:\\x "), ["a", "-b=c d", "", "e\"f", "C:\\x"]);
        assert_eq!(split("  "), Vec::<String>::new());
    }
}
