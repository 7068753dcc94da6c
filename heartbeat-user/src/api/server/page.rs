//! The status page (P6): one document without a build step, which needs nothing but this agent and may load nothing else.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;

const DOCUMENT: &str = include_str!("../page/index.html");
const STYLE: &str = include_str!("../page/style.css");
/// In one scope, as one module: each may use what is in the others.
const SCRIPT: &str = concat!(
    include_str!("../page/dom.js"),
    include_str!("../page/drawing.js"),
    include_str!("../page/tables.js"),
    include_str!("../page/events.js"),
    include_str!("../page/latencies.js"),
    include_str!("../page/orders.js"),
    include_str!("../page/settings.js"),
    include_str!("../page/app.js"),
);
/// Where they go in the document.
const MARKS: [&str; 2] = ["/* style.css */", "/* app.js */"];

struct Page {
    document: String,
    tag: HeaderValue,
    policy: HeaderValue,
}

/// As it is for the whole life of this binary.
static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let document = DOCUMENT.replacen(MARKS[0], STYLE, 1).replacen(MARKS[1], SCRIPT, 1);
    // What the document has in it, nothing that anybody brings into it, and no text that becomes elements.
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; img-src data: blob:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        hash(SCRIPT),
        hash(STYLE)
    );
    let header = |text: String| HeaderValue::from_str(&text).expect("base64 and our own words are visible ASCII");
    Page { tag: header(format!("\"{}\"", hash(&document))), policy: header(policy), document }
});

fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

/// `GET /`
pub(super) async fn page(headers: HeaderMap) -> Response {
    const HEADERS: [(HeaderName, HeaderValue); 6] = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        // Kept, but never shown without asking: after an upgrade it is another one.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    ];
    let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|tag| is_named(tag, &PAGE.tag));
    let mut response =
        if known { StatusCode::NOT_MODIFIED.into_response() } else { PAGE.document.as_str().into_response() };
    let to = response.headers_mut();
    for (name, value) in HEADERS {
        to.insert(name, value);
    }
    to.insert(header::ETAG, PAGE.tag.clone());
    to.insert(header::CONTENT_SECURITY_POLICY, PAGE.policy.clone());
    response
}

/// RFC 9110, section 13.1.2: a list of tags, compared weakly, or `*`.
fn is_named(list: &HeaderValue, tag: &HeaderValue) -> bool {
    let Ok(list) = list.to_str() else { return false };
    list.split(',').map(str::trim).any(|named| named == "*" || named.strip_prefix("W/").unwrap_or(named) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Place;

    #[test]
    fn the_document_has_its_style_and_its_script_and_names_no_other_host() {
        for mark in MARKS {
            assert_eq!(DOCUMENT.matches(mark).count(), 1, "{mark}");
            assert!(!PAGE.document.contains(mark));
        }
        assert!(!SCRIPT.contains("</script") && !STYLE.contains("</style"));
        // The one address in it is the name of a vocabulary.
        let addresses = PAGE.document.split("://").skip(1).filter(|rest| !rest.starts_with("www.w3.org/2000/svg"));
        assert_eq!(addresses.count(), 0);
        for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style="] {
            assert!(!PAGE.document.contains(forbidden), "{forbidden}");
        }
    }

    #[test]
    fn the_policy_allows_exactly_what_is_in_the_document() {
        let policy = PAGE.policy.to_str().unwrap();
        assert!(!policy.contains("unsafe") && policy.starts_with("default-src 'none'; script-src 'sha256-"));
        for (element, text) in [("script", SCRIPT), ("style", STYLE)] {
            let begin = PAGE.document.find(&format!("<{element}")).unwrap();
            let begin = begin + PAGE.document[begin..].find('>').unwrap() + 1;
            let end = begin + PAGE.document[begin..].find(&format!("</{element}>")).unwrap();
            assert_eq!(&PAGE.document[begin..end], text, "{element}");
            assert!(policy.contains(&hash(text)), "{element}");
        }
    }

    #[test]
    fn a_page_that_is_known_is_not_sent_again() {
        let tag = PAGE.tag.to_str().unwrap();
        for named in [tag.to_owned(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            assert!(is_named(&HeaderValue::from_str(&named).unwrap(), &PAGE.tag), "{named}");
        }
        assert!(!is_named(&HeaderValue::from_static("\"other\""), &PAGE.tag));
    }

    #[test]
    fn the_drawing_knows_every_place_of_a_fault() {
        for place in [
            Place::LocalPort,
            Place::LocalCable,
            Place::LocalPortOrCable,
            Place::RemotePortOrCable,
            Place::Network,
            Place::OneWayToUs,
            Place::OneWayToPeer,
            Place::PathBetween,
            Place::NetworkOrPath,
        ] {
            assert!(SCRIPT.contains(&format!("\"{place}\"")), "{place}");
        }
    }
}
