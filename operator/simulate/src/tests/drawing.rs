//! The chart and the page: well-formed, self-contained, accessible, and the same each time.

use super::{object, queue, run, stretches};
use crate::{Kind, Policy, Report, Settings, html, replay, svg};

fn report(name: &str) -> Report {
    let policy = object("cooldownPeriod: 30, maxReplicaCount: 9", "mode: QueueLength, value: '5'");
    let Kind::Object(own) = &policy.kind else { panic!("an object") };
    let load = stretches(&[(0.0, 60), (6.0, 120), (0.0, 120)]);
    let workload = queue(1.0, 20.0, 5.0);
    let policies: Vec<Policy> = vec![policy.clone(), own.plain_hpa(), own.static_max(), own.oracle()];
    let settings = Settings { buckets: 100, ..Settings::default() };
    let outcomes = policies.iter().map(|policy| replay(&load, &workload, policy, &settings)).collect();
    let mut report = Report::new(name, &load, &workload, outcomes, settings.buckets);
    report.notes.push("a < b".to_owned());
    report
}

/// Every element that is opened is closed in the right order, and every attribute is quoted.
fn check_elements(text: &str) {
    const EMPTY: [&str; 2] = ["meta", "!doctype"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>').expect("a tag that ends");
        rest = after;
        let name = tag.split([' ', '\n']).next().unwrap_or_default();
        if let Some(closed) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "in {tag}");
        } else if !tag.ends_with('/') && !EMPTY.contains(&name) {
            open.push(name);
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if name == "style" {
            let (_, after) = rest.split_once("</style>").expect("a style that ends");
            open.pop();
            rest = after;
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_report_stands_alone_and_says_its_numbers_in_words() {
    let report = report("orders <&\" \u{1}>");
    for text in [svg(&report), html(&report)] {
        check_elements(&text);
        for part in
            ["<title", "<desc id=\"chart-desc\">", "role=\"img\"", "aria-labelledby=", "prefers-color-scheme:dark"]
        {
            assert!(text.contains(part), "{part} is missing");
        }
        assert!(text.contains("orders &lt;&amp;&quot;  &gt;"), "the name is escaped");
        for part in ["<script", "href=", "src=", "url(", "@import", "NaN", "inf"] {
            assert!(!text.contains(part), "{part} in {text}");
        }
        for policy in ["w", "plain-hpa", "static-max", "oracle"] {
            assert!(text.contains(&format!("{policy}: the objective was not met for")), "{policy}");
        }
        // Addresses of XML name spaces are names; nothing is fetched from them.
        assert!(!text.replace("xmlns=\"http://www.w3.org/2000/svg\"", "").contains("://"));
    }
    assert!(html(&report).contains("a &lt; b"));
    assert_eq!(svg(&report), svg(&self::report("orders <&\" \u{1}>")));
}

#[test]
fn a_chart_of_nothing_can_be_drawn() {
    let load = stretches(&[(0.0, 3)]);
    let workload = queue(1.0, 0.0, 1.0);
    let outcome = run(&load, &workload, &super::fixed(0));
    let report = Report::new("nothing", &load, &workload, vec![outcome], Settings::default().buckets);
    check_elements(&svg(&report));
    assert!(!html(&report).contains("NaN"));
    let none = Report::new("nobody", &load, &workload, Vec::new(), 1);
    check_elements(&html(&none));
}

#[test]
fn figures_are_written_for_people() {
    let spans = [(0.0, "0s"), (0.04, "<0.1s"), (0.5, "0.5s"), (45.0, "45s"), (200.0, "3m20s"), (120.0, "2m")];
    let longer = [(7500.0, "2h05m"), (7200.0, "2h"), (2_592_000.0, "30d"), (100_000.0, "1d03h")];
    for (seconds, text) in spans.into_iter().chain(longer) {
        assert_eq!(crate::span(seconds), text);
    }
    let amounts = [(0.0, "0"), (0.000_01, "<0.001"), (0.042, "0.042"), (1.5, "1.5"), (9.999, "10"), (99.99, "100")];
    let larger = [(318.4, "318"), (1204.0, "1204"), (1_204_300.0, "1 204 300"), (12_345.6, "12 346")];
    for (figure, text) in amounts.into_iter().chain(larger) {
        assert_eq!(crate::amount(figure), text);
    }
    assert_eq!((crate::percent(0.0), crate::percent(0.001)), ("0.00".to_owned(), "<0.01".to_owned()));
}
