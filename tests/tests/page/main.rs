//! The status page in a real browser: what it shows, to whom it speaks, and that it can be used without a mouse.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod browser;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use browser::Page;
use heartbeat_tests::host::undisturbed;
use heartbeat_tests::lab::{Config, Lab, Node, Options};
use heartbeat_tests::scenario::{self, SOON, bring_up, owners, wait_owners};
use serde_json::{Value, json};

const HTTP: &str = "127.0.0.1:9694";
const TOKEN: &str = "0123456789abcdef";

/// What somebody could write into the output of a check.
const HOSTILE: &str = "<img src=x onerror=document.title=1><script>document.title=1</script>";

/// A pair that is well, with HTTP, a token, networks that are judged, and a check that fails where the file `ill` is.
fn serving() -> Lab {
    let lab = Lab::new(Options::default()).unwrap();
    let mut config = Config::usual().judged_by_clients();
    config.extra = scenario::serving(&lab, HTTP, TOKEN).unwrap();
    config.extra += &format!(
        "[[check]]\nname = \"pool\"\ninterval = \"100ms\"\nfall = 1\n\
         command = [\"/bin/sh\", \"-c\", \"test ! -e {} || {{ echo '{HOSTILE}'; exit 1; }}\"]\n",
        lab.folder().join("ill").display()
    );
    bring_up(&lab, &config).unwrap();
    lab
}

/// Status line, headers and body of the answer to a request of controller a.
fn ask(lab: &Lab, path: &str, more: &str) -> String {
    let mut stream = lab.controller(Node::A).unwrap().run(|| TcpStream::connect(HTTP)).unwrap().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// What the agent of controller a still knows of: the ids of its newest events, oldest first.
fn ids(lab: &Lab) -> Vec<u64> {
    let answer = ask(lab, "/v1/events?limit=500", "");
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    body["events"].as_array().unwrap().iter().map(|event| event["id"].as_u64().unwrap()).collect()
}

/// The ids of the events on the page, oldest first.
fn shown(page: &Page) -> Vec<u64> {
    let all = page.value("[...document.querySelectorAll('#event-list > li')].map((row) => Number(row.dataset.id))");
    let mut all: Vec<u64> = serde_json::from_value(all).unwrap();
    all.reverse();
    all
}

fn verdict_level(level: &str) -> String {
    format!("document.getElementById('verdict').dataset.level === '{level}'")
}

/// Pictures of it by day, by night and on a phone, where nothing may reach beyond the screen.
fn pictures(page: &Page, name: &str) {
    const WIDE: &str = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";
    for (look, width, height, scheme) in [
        ("light", 1280, 900, "light"),
        ("dark", 1280, 900, "dark"),
        ("phone", 360, 740, "light"),
        ("tablet", 800, 1000, "dark"),
    ] {
        page.looks(width, height, scheme);
        page.wait(
            "document.querySelector('#drawing svg').clientWidth <= document.getElementById('drawing').clientWidth",
        );
        page.wait(WIDE);
        page.picture(&format!("{name}-{look}"));
    }
    page.looks(1280, 900, "light");
}

#[test]
fn the_page_shows_the_pair_as_it_is_wired_its_faults_where_they_lie_and_who_serves() {
    undisturbed(|| {
        let lab = serving();
        let page = Page::open(&lab);
        page.wait(&verdict_level("good"));
        assert_eq!(page.text("line"), "the peer is alive on all channels");
        let drawing = page.text("drawing");
        for words in
            ["a · lab-a", "net1", "net2", "xlink", "eth9", "192.0.2.1", "fe80::2", "storage-a", "198.51.100.10"]
        {
            assert!(drawing.contains(words), "no {words:?} in {drawing}");
        }
        assert_eq!(page.value("document.querySelectorAll('#drawing .wire.bad').length"), 0);
        assert_eq!(page.value("document.querySelectorAll('#drawing rect.switch').length"), 2, "two networks");
        page.value("document.getElementById('latencies').scrollIntoView()");
        page.wait("document.getElementById('plot').naturalWidth > 0 && !document.getElementById('plot').hidden");
        assert!(page.text("latency-rows").contains("rtt/net1"));
        page.value("document.getElementById('settings-all').open = true");
        page.wait("document.querySelectorAll('#settings-list dt').length > 50");
        let settings = page.text("settings-list");
        for (words, shown) in [("io_timeout", true), ("/usr/lib/heartbeat/grant", true), ("probe = [", false)] {
            assert_eq!(settings.contains(words), shown, "{words:?} in {settings}");
        }
        page.value("document.getElementById('settings-all').open = false");
        page.value("scrollTo(0, 0)");
        pictures(&page, "healthy");

        lab.cut("a-net1").unwrap();
        page.wait(&verdict_level("degraded"));
        page.wait("document.getElementById('drawing').textContent.includes('our own cable')");
        page.wait("document.querySelectorAll('#drawing .cross').length === 1");
        // Its half of the wire, and not the other one.
        page.wait("document.querySelectorAll('#drawing .wire.bad').length === 1");
        page.wait("document.getElementById('event-list').textContent.includes('net1 is BAD')");
        page.wait("document.getElementById('verdict-list').textContent.includes('our own cable')");
        pictures(&page, "cut");
        lab.mend("a-net1").unwrap();

        lab.power_off(Node::B).unwrap();
        page.wait(
            "[...document.querySelectorAll('#group-rows tr')].every((row) => row.cells[1].textContent === 'a, here')",
        );
        page.wait("document.getElementById('line').textContent.startsWith('the peer is dead')");
        page.wait("document.getElementById('word').textContent.includes('served, by one controller alone')");
        page.wait("document.getElementById('drawing').textContent.includes('✕ dead')");
        pictures(&page, "takeover");
        page.assert_innocent();
    });
}

#[test]
fn an_order_needs_the_token_and_a_confirmation_and_no_mouse() {
    undisturbed(|| {
        let lab = serving();
        let page = Page::open(&lab);
        page.wait("document.querySelectorAll('#group-rows button').length === 2");
        assert!(page.is("[...document.querySelectorAll('#group-rows button, #maintenance, #reset')].every((button) => button.disabled)"));
        assert!(page.text("orders-why").contains("api.token_file"));
        // The first thing that Tab leads to is the way past everything.
        page.press(&["Tab"]);
        assert!(page.is("document.activeElement.matches('.skip')"));
        page.press(&["Enter"]);
        assert!(page.is("document.activeElement.id === 'main'"));

        page.tab_to("at.id === 'token'");
        page.type_text("not-the-right-one");
        page.press(&["Enter"]);
        page.wait("!document.getElementById('maintenance').disabled");
        page.tab_to("at.id === 'maintenance'");
        page.press(&["Enter"]);
        page.wait("document.getElementById('answer').textContent.includes('refused: orders need')");
        assert_eq!(lab.status(Node::A).unwrap().json["maintenance"], false);

        // A click focuses as Tab does; from its start the document is gone through again.
        page.value("document.getElementById('token').focus()");
        page.type_text(TOKEN);
        page.press(&["Enter"]);
        page.wait("document.getElementById('answer').textContent.includes('used from now on')");
        page.value("document.getElementById('channels').querySelector('[tabindex]').focus()");
        page.tab_to("at.dataset.group === 'storage-b'");
        page.press(&["Enter"]);
        page.wait("document.getElementById('confirm').open");
        page.picture("confirmation");
        page.press(&["Escape"]);
        page.wait("!document.getElementById('confirm').open");
        assert_eq!(owners(&lab.status(Node::A).unwrap().json), ["a", "b"], "not without a confirmation");

        page.press(&["Enter"]);
        page.wait("document.getElementById('confirm').open");
        page.tab_to("at.id === 'confirm-yes'");
        page.press(&["Enter"]);
        page.wait("document.getElementById('answer').textContent.includes('takeover of storage-b: accepted')");
        wait_owners(&lab, Node::A, &["a", "a"]).unwrap();
        page.wait("document.querySelector('[data-group=\"storage-b\"]').dataset.what === 'release'");
        page.wait(
            "document.getElementById('event-list').textContent.includes('storage-b is to be held here, by order')",
        );
        // The token is this tab's alone.
        assert_eq!(page.value("[localStorage.length, document.cookie]"), json!([0, ""]));
        page.tab_to("at.id === 'forget'");
        page.press(&["Enter"]);
        page.wait("document.getElementById('maintenance').disabled");
        assert_eq!(page.value("sessionStorage.length"), 0);
        page.assert_nothing_foreign();
    });
}

#[test]
fn what_others_write_stays_text_and_the_document_itself_says_what_may_run() {
    undisturbed(|| {
        let lab = serving();
        let answer = ask(&lab, "/", "");
        let head = answer.split_once("\r\n\r\n").unwrap().0.to_ascii_lowercase();
        for header in [
            "http/1.1 200",
            "content-type: text/html; charset=utf-8",
            "content-security-policy: default-src 'none'; script-src 'sha256-",
            "frame-ancestors 'none'",
            "x-frame-options: deny",
            "x-content-type-options: nosniff",
            "cache-control: no-cache",
            "referrer-policy: no-referrer",
        ] {
            assert!(head.contains(header), "no {header:?} in {head}");
        }
        let tag = answer.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
        let again = ask(&lab, "/", &format!("If-None-Match: {tag}\r\n"));
        assert!(again.starts_with("HTTP/1.1 304") && again.ends_with("\r\n\r\n"), "{again}");

        let page = Page::open(&lab);
        page.wait(&verdict_level("good"));
        fs::write(lab.folder().join("ill"), "").unwrap();
        page.wait("document.getElementById('event-list').textContent.includes('check pool fails')");
        // The evidence is made when it is looked at.
        page.value(
            "[...document.querySelectorAll('#event-list details')].find((row) => row.textContent.includes('check pool fails')).open = true",
        );
        page.wait("document.querySelector('#event-list dl') !== null");
        let evidence = page.value("document.querySelector('#event-list dl').textContent");
        assert!(evidence.as_str().unwrap().contains(HOSTILE), "{evidence}");
        assert_eq!(page.value("document.querySelectorAll('main script, main img:not(#plot)').length"), 0);
        assert!(page.is("document.title.endsWith('Heartbeat')"));
        // Nor could a script of somebody else's run, if there were a way in.
        let script = "(() => { const s = document.createElement('script'); try { s.text = 'document.title = 1'; } catch { return 'refused'; } })()";
        assert_eq!(page.value(script), "refused");
        page.picture("evidence");
    });
}

#[test]
fn the_page_comes_back_with_the_agent_and_no_event_is_missing_or_doubled() {
    undisturbed(|| {
        let lab = serving();
        let page = Page::open(&lab);
        let before = shown(&page);
        assert_eq!(before, ids(&lab));

        let mark = lab.mark(Node::A);
        lab.reload(Node::A).unwrap();
        lab.wait_event_since(Node::A, mark, |line| line.is("ready"), SOON).unwrap();
        page.wait("[...document.querySelectorAll('#event-list .text')].some((text) => text.textContent.includes('goes on where it was'))");
        page.wait("document.getElementById('live').dataset.state === 'live'");
        let all = ids(&lab);
        page.wait(&format!("document.querySelector('#event-list > li[data-id=\"{}\"]')", all.last().unwrap()));
        let now = shown(&page);
        assert!(now.starts_with(&before), "{before:?} in {now:?}");
        // What the new life has told, and what it has told since.
        let new: Vec<_> = now.iter().copied().filter(|id| (all[0]..=all[all.len() - 1]).contains(id)).collect();
        assert_eq!(new, all);

        lab.stop(Node::A).unwrap();
        page.wait(
            "document.getElementById('live').dataset.state === 'stale' && document.body.classList.contains('old')",
        );
        assert!(
            page.text("stale").contains("The agent does not answer")
                && page.text("stale").contains("What is shown was so at")
        );
        assert!(page.is("!document.getElementById('stale').hidden"));
        let age = page.text("age");
        page.wait(&format!("document.getElementById('age').textContent !== '{age}'"));
        page.picture("stale");
        let kept = shown(&page);
        lab.start(Node::A).unwrap();
        lab.wait_event(Node::A, |line| line.is("peer_good"), SOON).unwrap();
        page.wait(
            "document.getElementById('live').dataset.state === 'live' && document.getElementById('stale').hidden",
        );
        let new = ids(&lab);
        page.wait(&format!("document.querySelector('#event-list > li[data-id=\"{}\"]')", new.last().unwrap()));
        let now = shown(&page);
        assert!(now.windows(2).all(|pair| pair[0] < pair[1]), "doubled or out of order: {now:?}");
        assert!(kept.iter().chain(&new).all(|id| now.contains(id)), "missing: {kept:?} and {new:?} in {now:?}");
        page.assert_nothing_foreign();
    });
}
