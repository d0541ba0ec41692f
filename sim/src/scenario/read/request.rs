//! What requests show to a layer 7 balancer: pages, headers, parameters; and the keys that are made of them.

use super::Site;
use crate::population::SitePages;
use crate::scenario::section::{Item, Section};
use crate::tier::{Key, KeyError, RequestFields, Value};

/// Values of a field at most.
const VALUES_MAX: u64 = u32::MAX as u64;
/// Largest exponent of Zipf's law: beyond it the first page is as good as the only one.
const ZIPF_MAX: f64 = 10.0;

/// `[request]`: the headers and parameters that every request has.
pub(super) fn request(item: &Item<'_>) -> Option<RequestFields> {
    let mut section = item.section("a table such as { headers = { X-User = \"client\" } }")?;
    let headers = section.optional("headers", Vec::new(), |item| fields(&item));
    let params = section.optional("params", Vec::new(), |item| fields(&item));
    section.finish();
    Some(RequestFields { headers: headers?, params: params?, of_logs: false })
}

fn fields(item: &Item<'_>) -> Option<Vec<(String, Value)>> {
    let mut section = item.section("a table of names and what they hold, such as { userid = \"client\" }")?;
    let found: Vec<_> =
        section.entries().iter().map(|item| Some((item.key.to_owned(), value(item)?))).collect();
    found.into_iter().collect()
}

/// What a field holds.
fn value(item: &Item<'_>) -> Option<Value> {
    if item.text().is_some() {
        let place = item.one_of(&[("client", 0), ("address", 1), ("page", 2), ("agent", 3)])?;
        return [Value::Client, Value::Address, Value::Page, Value::Agent].into_iter().nth(place);
    }
    let kind = item
        .section("\"client\", \"address\", \"page\", \"agent\", { text = … } or { values = … }")?
        .single("value", &["text", "values"])?;
    if kind.key == "text" {
        return kind.string().map(|text| Value::Text(text.to_owned()));
    }
    kind.integer(1, VALUES_MAX).map(|values| Value::OneOf(values as u32))
}

/// The `pages` of a population.
pub(super) fn pages(item: &Item<'_>) -> Option<SitePages> {
    let mut section = item.section("a table such as { count = 1_000, popularity = { zipf = 0.8 } }")?;
    let count = section
        .required("count", |item| item.integer(1, SitePages::COUNT_MAX.into()).map(|count| count as u32));
    let zipf = section.optional("popularity", 0.0, |item| {
        if item.text() == Some("equal") {
            return Some(0.0);
        }
        let law = item.section("\"equal\" or a table such as { zipf = 0.8 }")?.single("law", &["zipf"])?;
        let exponent = law.number_at_least(0.0)?;
        if exponent > ZIPF_MAX {
            law.error(format!("`zipf` must be at most {ZIPF_MAX}, got {}", law.got()));
            return None;
        }
        Some(exponent)
    });
    section.finish();
    Some(SitePages { count: count?, zipf: zipf? })
}

/// nginx's `hash KEY`. nginx has no default; here it is the client's address.
pub(super) fn nginx_key(section: &mut Section<'_>, site: &Site<'_>) -> Option<Key> {
    let read = |text: &str| Key::nginx(text, site.request);
    match section.take("key") {
        None => read("$remote_addr").ok(),
        Some(item) => understood(&item, read(item.string()?), &Key::NGINX),
    }
}

/// A sample fetch of HAProxy.
pub(super) fn sample(item: &Item<'_>, text: &str, site: &Site<'_>) -> Option<Key> {
    understood(item, Key::haproxy(text, site.request), &Key::HAPROXY)
}

fn understood(item: &Item<'_>, key: Result<Key, KeyError>, known: &[&str]) -> Option<Key> {
    let error = match key {
        Ok(key) => return Some(key),
        Err(error) => error,
    };
    let help = match &error {
        KeyError::NoHeader { name } => format!("add `request = {{ headers = {{ {name} = \"client\" }} }}`"),
        KeyError::NoParam { name } => format!("add `request = {{ params = {{ {name} = \"client\" }} }}`"),
        KeyError::Constant => "name a variable, such as `$remote_addr`".to_owned(),
        KeyError::Unknown { name } => {
            item.unknown("variable", name, known);
            return None;
        }
    };
    item.error_with_help(format!("`{}` {}: {error}", item.key, item.got()), help);
    None
}
