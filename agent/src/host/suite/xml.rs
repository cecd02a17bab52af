//! As much of XML as a report needs: elements, attributes, text. No document types, so that there is nothing to expand
//! and nothing to fetch; depth, names and attributes are bounded.

const DEPTH_MAX: usize = 32;
const ATTRIBUTES_MAX: usize = 64;
const NAME_BYTES: usize = 128;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event<'t> {
    Open { name: &'t str, attributes: Vec<(&'t str, String)> },
    Close { name: &'t str },
    Text(String),
}

/// Reads a document from its beginning to its end; after an error nothing more.
pub(super) struct Reader<'t> {
    rest: &'t str,
    open: Vec<&'t str>,
    /// The end of an element that was opened and closed at once.
    closing: Option<&'t str>,
    begun: bool,
}

impl<'t> Reader<'t> {
    pub fn new(text: &'t str) -> Self {
        Self { rest: text.trim_start_matches('\u{feff}'), open: vec![], closing: None, begun: false }
    }

    pub fn next(&mut self) -> Result<Option<Event<'t>>, String> {
        if let Some(name) = self.closing.take() {
            return Ok(Some(Event::Close { name }));
        }
        loop {
            if self.rest.is_empty() {
                return match self.open.last() {
                    None if self.begun => Ok(None),
                    None => Err("there is no element in it".to_owned()),
                    Some(name) => Err(format!("it ends inside of <{name}>")),
                };
            }
            if !self.rest.starts_with('<') {
                let end = self.rest.find('<').unwrap_or(self.rest.len());
                let (text, rest) = self.rest.split_at(end);
                self.rest = rest;
                if self.open.is_empty() {
                    if text.trim().is_empty() {
                        continue;
                    }
                    return Err("text stands outside of any element".to_owned());
                }
                return Ok(Some(Event::Text(unescaped(text)?)));
            }
            if let Some(rest) = self.rest.strip_prefix("<!--") {
                self.rest = after(rest, "-->")?.1;
            } else if let Some(rest) = self.rest.strip_prefix("<![CDATA[") {
                let (text, rest) = after(rest, "]]>")?;
                self.rest = rest;
                return Ok(Some(Event::Text(text.to_owned())));
            } else if let Some(rest) = self.rest.strip_prefix("<?") {
                self.rest = after(rest, "?>")?.1;
            } else if self.rest.starts_with("<!") {
                return Err("it declares a document type, which may expand to anything: refused".to_owned());
            } else if let Some(rest) = self.rest.strip_prefix("</") {
                return self.close(rest).map(Some);
            } else {
                return self.open(&self.rest[1..]).map(Some);
            }
        }
    }

    fn close(&mut self, rest: &'t str) -> Result<Event<'t>, String> {
        let (name, rest) = after(rest, ">")?;
        let name = name.trim_end();
        match self.open.pop() {
            Some(open) if open == name => {}
            _ => return Err("an element ends that was not begun".to_owned()),
        }
        self.rest = rest;
        Ok(Event::Close { name })
    }

    fn open(&mut self, rest: &'t str) -> Result<Event<'t>, String> {
        if self.open.is_empty() && self.begun {
            return Err("it has more than one root".to_owned());
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(format!("it is more than {DEPTH_MAX} elements deep"));
        }
        let (name, mut rest) = name(rest)?;
        let mut attributes = vec![];
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix("/>") {
                (self.rest, self.closing) = (after, Some(name));
                break;
            }
            if let Some(after) = rest.strip_prefix('>') {
                self.rest = after;
                self.open.push(name);
                break;
            }
            let (key, after_key) = self::name(rest)?;
            let value =
                after_key.trim_start().strip_prefix('=').ok_or("an attribute has no value")?.trim_start();
            let quote =
                value.chars().next().filter(|c| matches!(c, '"' | '\'')).ok_or("a value has no quotes")?;
            let (value, after_value) = value[1..].split_once(quote).ok_or("a value does not end")?;
            if attributes.len() >= ATTRIBUTES_MAX {
                return Err(format!("an element has more than {ATTRIBUTES_MAX} attributes"));
            }
            attributes.push((key, unescaped(value)?));
            rest = after_value;
        }
        self.begun = true;
        Ok(Event::Open { name, attributes })
    }
}

fn after<'t>(text: &'t str, end: &str) -> Result<(&'t str, &'t str), String> {
    text.split_once(end).ok_or_else(|| format!("something that should end with {end} does not"))
}

fn name(text: &str) -> Result<(&str, &str), String> {
    let fits = |c: char| c.is_alphanumeric() || "_-.:".contains(c);
    let end = text.find(|c: char| !fits(c)).unwrap_or(text.len());
    if end == 0 || end > NAME_BYTES {
        return Err("a name is none".to_owned());
    }
    Ok(text.split_at(end))
}

/// The five entities that XML knows by itself, and characters by number. Any other is refused.
fn unescaped(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(12).position(|byte| byte == b';').ok_or("an entity does not end")?;
        let word = &rest[1..end];
        let number = match word.strip_prefix('#') {
            Some(hex) if hex.starts_with(['x', 'X']) => u32::from_str_radix(&hex[1..], 16).ok(),
            Some(number) => number.parse().ok(),
            None => None,
        };
        let known = match word {
            "lt" => Some('<'),
            "gt" => Some('>'),
            "amp" => Some('&'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => number.and_then(char::from_u32),
        };
        out.push(known.ok_or("an entity that XML does not know")?);
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}
