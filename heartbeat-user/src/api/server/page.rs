//! The status page (P6): one document without a build step, which needs nothing but this agent and may load nothing else.

use crate::{
    events::{Kind, Role},
    types::Severity,
};
use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;

const DOCUMENT: &str = include_str!("../page/index.html");
const STYLE: &str = include_str!("../page/style.css");
/// In one scope, as one module, behind what the catalogue says: each may use what is in the others.
const FILES: &str = concat!(
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

static SCRIPT: LazyLock<String> = LazyLock::new(|| catalogue() + FILES);

/// What the scripts know of events.
fn catalogue() -> String {
    let verdicts: Vec<_> = Kind::ALL.iter().filter(|kind| kind.is(Role::Verdict)).map(|kind| kind.name()).collect();
    let severities = Severity::ALL.map(Severity::name);
    format!(
        "// From the catalogue of events: the kinds that GET /v1/verdicts has, and severities, a worse one after a milder one.\n\
         const VERDICTS = {};\nconst SEVERITIES = {};\n\n",
        json!(verdicts),
        json!(severities)
    )
}

struct Page {
    document: String,
    tag: HeaderValue,
    policy: HeaderValue,
}

/// As it is for the whole life of this binary.
static PAGE: LazyLock<Page> = LazyLock::new(|| {
    let document = DOCUMENT.replacen(MARKS[0], STYLE, 1).replacen(MARKS[1], &SCRIPT, 1);
    // What the document has in it, nothing that anybody brings into it, and no text that becomes elements.
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; img-src data: blob:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        hash(&SCRIPT),
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
    use crate::{
        core::Place,
        events::samples::{self, every, names},
    };

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
        for (element, text) in [("script", SCRIPT.as_str()), ("style", STYLE)] {
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

    /// The keys of an object that a script writes down, one a line.
    fn keys(name: &str) -> Vec<&'static str> {
        let begin = format!("const {name} = {{");
        let (_, object) = FILES.split_once(&begin).expect("the script has it");
        let (object, _) = object.split_once("};").expect("it ends");
        object.split('\n').filter_map(|line| Some(line.trim().split_once(':')?.0)).collect()
    }

    #[test]
    fn the_drawing_knows_every_place_of_a_fault_by_its_code() {
        assert_eq!(keys("PLACES"), names(&every::<Place>()));
    }

    #[test]
    fn the_scripts_name_no_kind_of_event_of_their_own_and_the_document_one_that_exists() {
        // A kind of one word is a word of other things, too.
        for kind in Kind::ALL.iter().filter(|kind| kind.name().contains('_')) {
            assert!(!FILES.contains(&format!("\"{kind}\"")), "{kind}");
        }
        let (_, example) = DOCUMENT.split_once("placeholder=\"net1, ").unwrap();
        let (example, _) = example.split_once('"').unwrap();
        assert!(Kind::of_name(example).is_some(), "{example}");
        assert!(SCRIPT.contains(r#"const VERDICTS = ["peer_dead","#), "{}", catalogue());
        assert!(SCRIPT.contains(r#"const SEVERITIES = ["info","notice","warning","critical"];"#), "{}", catalogue());
    }

    #[test]
    fn no_script_depends_on_a_sentence() {
        for sentence in samples::sentences() {
            assert!(!FILES.contains(&sentence), "{sentence}");
        }
    }
}
