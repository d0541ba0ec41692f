//! A small writer of HTML: all text goes through [`escape`], and elements close themselves.

use std::borrow::Cow;

/// HTML as it grows.
#[derive(Debug, Default)]
pub(crate) struct Html {
    text: String,
}

impl Html {
    /// The whole.
    pub(crate) fn finish(self) -> String {
        self.text
    }

    /// Text, escaped.
    pub(crate) fn text(&mut self, text: &str) {
        self.text.push_str(&escape(text));
    }

    /// Markup as it is: only for what this crate wrote itself.
    pub(crate) fn markup(&mut self, markup: &str) {
        self.text.push_str(markup);
    }

    /// An element with attributes and whatever `inside` writes.
    pub(crate) fn element(&mut self, tag: &str, attributes: &[(&str, &str)], inside: impl FnOnce(&mut Self)) {
        self.text.push('<');
        self.text.push_str(tag);
        for (name, value) in attributes.iter().filter(|(_, value)| !value.is_empty()) {
            self.text.push(' ');
            self.text.push_str(name);
            self.text.push_str("=\"");
            self.text.push_str(&escape(value));
            self.text.push('"');
        }
        self.text.push('>');
        inside(self);
        self.text.push_str("</");
        self.text.push_str(tag);
        self.text.push('>');
        if !matches!(tag, "small" | "code" | "b" | "span" | "a") {
            self.text.push('\n');
        }
    }

    /// An element that holds nothing but text.
    pub(crate) fn leaf(&mut self, tag: &str, text: &str) {
        self.element(tag, &[], |html| html.text(text));
    }
}

/// `text` with everything replaced that could be markup in HTML, SVG or an attribute. Control characters, which XML forbids,
/// and marks that turn the direction of what follows become U+FFFD, so that a name cannot disorder the page.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    let special = |c: char| matches!(c, '&' | '<' | '>' | '"' | '\'') || is_harmful(c);
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ if is_harmful(c) => escaped.push('\u{FFFD}'),
            _ => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

fn is_harmful(c: char) -> bool {
    let control = c.is_control() && !matches!(c, '\n' | '\t');
    control || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FFFE}' | '\u{FFFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_text_is_shown_and_not_obeyed() {
        assert_eq!(escape("<b> & \"c\" 'd'"), "&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;");
        assert!(matches!(escape("größe 東京"), Cow::Borrowed(_)));
    }

    #[test]
    fn characters_that_disorder_a_page_are_replaced() {
        assert_eq!(escape("a\u{202E}b\u{0}c\nd"), "a\u{FFFD}b\u{FFFD}c\nd");
    }

    #[test]
    fn elements_nest_and_drop_empty_attributes() {
        let mut html = Html::default();
        html.element("p", &[("class", ""), ("title", "\"x\"")], |html| html.leaf("b", "<y>"));
        assert_eq!(html.finish(), "<p title=\"&quot;x&quot;\"><b>&lt;y&gt;</b></p>\n");
    }
}
