//! Each format, each kind of step, and answers that hold no number.

use proptest::prelude::*;

use super::super::path::Path;
use super::*;

const JSON: &str = r#"{
    "count": 12, "rate": 1.5, "text": "250m", "word": "many", "no": null, "yes": true, "below": -3,
    "a.b": {"c d": 7}, "@at": 8, "*": 9,
    "workers": [
        {"name": "red", "tasks": 3, "busy": true, "tags": ["x", "y"]},
        {"name": "blue.green", "tasks": 5, "busy": false, "tags": ["y"]},
        {"name": "grey", "busy": true, "tags": []}
    ],
    "numbers": [10, 20, 30], "nested": [[1, 2], [3]]
}"#;

fn json(path: &str) -> Result<f64, Missing> {
    let location = Location::Json(Path::gjson(path).unwrap_or_else(|problem| panic!("{path}: {problem}")));
    Answer::new(JSON.as_bytes()).number(&location)
}

#[test]
fn gjson_paths_lead_where_gjson_leads() {
    let table = [
        ("count", 12.0),
        ("rate", 1.5),
        ("text", 0.25),
        ("below", -3.0),
        (r"a\.b.c d", 7.0),
        (r"\@at", 8.0),
        (r"\*", 9.0),
        ("workers.#", 3.0),
        ("workers.0.tasks", 3.0),
        ("workers|1|tasks", 5.0),
        ("numbers.2", 30.0),
        ("numbers.#", 3.0),
        ("coun?", 12.0),
        ("num*.0", 10.0),
        ("workers.#.tasks|0", 3.0),
        ("workers.#.tasks|1", 5.0),
        ("workers.#.tasks|#", 2.0),
        ("workers.#.tags.#|0", 2.0),
        ("nested.#.#|1", 1.0),
        (r#"workers.#(name=="blue.green").tasks"#, 5.0),
        (r#"workers.#(name="red").tasks"#, 3.0),
        ("workers.#(name==red).tasks", 3.0),
        (r#"workers.#(name!="red").tasks"#, 5.0),
        (r#"workers.#(name%"blue*").tasks"#, 5.0),
        (r#"workers.#(name!%"r*").tasks"#, 5.0),
        ("workers.#(tasks>3).tasks", 5.0),
        ("workers.#(tasks >= 3).tasks", 3.0),
        ("workers.#(tasks<5).tasks", 3.0),
        ("workers.#(tasks<=3).tasks", 3.0),
        ("workers.#(busy==false).tasks", 5.0),
        ("workers.#(busy==true)#|#", 2.0),
        ("workers.#(tasks)#|#", 2.0),
        ("workers.#(tasks>1)#.tasks|1", 5.0),
        (r#"workers.#(tags.#(=="y"))#|#"#, 2.0),
        (r#"workers.#(tags.#(=="x")).tasks"#, 3.0),
        ("numbers.#(>15)", 20.0),
    ];
    for (path, wanted) in table {
        assert_eq!(json(path), Ok(wanted), "{path}");
    }
}

#[test]
fn where_nothing_stands_there_is_no_number() {
    for path in [
        "missing",
        "no",
        "count.deeper",
        "workers.3.tasks",
        "workers.2.tasks",
        "workers.01.tasks",
        "workers.-1",
        "numbers.first",
        "numbers.#(>99)",
        "workers.#.tasks|2",
        "count.#",
        "x*",
    ] {
        assert_eq!(json(path), Err(Missing::Nothing), "{path}");
    }
    for path in ["word", "yes", "workers", "workers.0", "numbers", "workers.#.tasks", "workers.#(busy==true)#", "n*"] {
        assert!(matches!(json(path), Err(Missing::Bad(_))), "{path}: {:?}", json(path));
    }
    for body in ["", "null x", "{", "12 13", "<html>", "\u{feff}{}"] {
        let location = Location::Json(Path::gjson("a").expect("a path"));
        assert_eq!(
            Answer::new(body.as_bytes()).number(&location),
            Err(Missing::Bad("its answer is not JSON")),
            "{body}"
        );
    }
    let deep = "[".repeat(200_000);
    let location = Location::Json(Path::gjson("0").expect("a path"));
    assert!(Answer::new(deep.as_bytes()).number(&location).is_err());
}

#[test]
fn paths_that_are_not_understood_are_refused() {
    let deep = format!("{}a{}", "#(".repeat(20), ")".repeat(20));
    let long = "a".repeat(2000);
    for path in [
        "",
        ".",
        "a.",
        "a..b",
        "..0.a",
        "a|",
        "@this",
        "a.@reverse",
        "a|@values",
        "{a,b}",
        "[a,b]",
        "!12",
        "a.#x",
        "a.#(b",
        "a.#(b==\"c",
        "a.#()",
        "a.#(b==~true)",
        "a.#(b=\"c)",
        "a.#.",
        "a\\",
        &deep,
        &long,
    ] {
        assert!(Path::gjson(path).is_err(), "{path}");
    }
    for path in ["", ".", "a.", "a..b", "a[", "a[].b", &long] {
        assert!(Path::plain(path).is_err(), "{path}");
    }
}

#[test]
fn yaml_is_read_by_names_and_positions() {
    let body = "queue:\n  length: 7\n  text: 1Ki\n  list:\n    - a: 1\n    - a: 2\n\"a.b\": 3\nnan: .nan\n";
    let yaml = |path: &str| Answer::new(body.as_bytes()).number(&Location::Yaml(Path::plain(path).expect("a path")));
    assert_eq!(yaml("queue.length"), Ok(7.0));
    assert_eq!(yaml("queue.text"), Ok(1024.0));
    assert_eq!(yaml("queue.list.1.a"), Ok(2.0));
    assert_eq!(yaml("queue.list[1].a"), Ok(2.0));
    assert_eq!(yaml(r"a\.b"), Ok(3.0));
    assert_eq!(yaml("queue.width"), Err(Missing::Nothing));
    assert!(yaml("nan").is_err());
    assert!(matches!(yaml("queue"), Err(Missing::Bad(_))));
    let yaml = |body: &str| Answer::new(body.as_bytes()).number(&Location::Yaml(Path::plain("a").expect("a path")));
    for body in ["a: [", "\t", "a: *b"] {
        assert_eq!(yaml(body), Err(Missing::Bad("its answer is not YAML")), "{body}");
    }
    let large = format!("a: 1\nb: \"{}\"\n", "x".repeat(1 << 20));
    assert!(matches!(yaml(&large), Err(Missing::Bad(_))));
    // Aliases of aliases would fill the memory.
    let mut bomb = "l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let of = format!("*l{}, ", level - 1).repeat(10);
        bomb += &format!("l{level}: &l{level} [{}]\n", of.trim_end_matches(", "));
    }
    assert_eq!(yaml(&bomb), Err(Missing::Bad("its answer is not YAML")));
}

#[test]
fn xml_is_read_by_names_and_positions() {
    let body = r#"<?xml version="1.0"?><root at="4"><queue length="9">
        <size> 7 </size><text>1k</text><word>many</word><empty/><split>1<!-- x -->2</split>
        <item><n>1</n></item><item><n>2</n></item><s:other xmlns:s="urn:s">5</s:other></queue></root>"#;
    let xml = |path: &str| Answer::new(body.as_bytes()).number(&Location::Xml(Path::plain(path).expect("a path")));
    for (path, wanted) in [
        ("root.queue.size", 7.0),
        ("queue.size", 7.0),
        ("queue.text", 1000.0),
        ("queue.split", 12.0),
        ("root.@at", 4.0),
        ("queue.@length", 9.0),
        ("queue.item.0.n", 1.0),
        ("queue.item[1].n", 2.0),
        ("queue.other", 5.0),
    ] {
        assert_eq!(xml(path), Ok(wanted), "{path}");
    }
    for path in ["queue.width", "other", "queue.item.2.n", "queue.@width"] {
        assert_eq!(xml(path), Err(Missing::Nothing), "{path}");
    }
    for path in ["queue.word", "queue.empty", "queue", "queue.item", "queue.item.n", "queue.item.1"] {
        assert!(matches!(xml(path), Err(Missing::Bad(_))), "{path}: {:?}", xml(path));
    }
    let doctype = r#"<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]><r><n>&a;</n></r>"#;
    let nested = format!("{}1{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    for body in ["", "<a>", "12", doctype] {
        let found = Answer::new(body.as_bytes()).number(&Location::Xml(Path::plain("n").expect("a path")));
        assert_eq!(found, Err(Missing::Bad("its answer is not XML")), "{body}");
    }
    assert!(Answer::new(nested.as_bytes()).number(&Location::Xml(Path::plain("n").expect("a path"))).is_err());
}

#[test]
fn samples_are_chosen_by_name_and_labels() {
    let body = "# HELP jobs Jobs.\n# TYPE jobs gauge\njobs{queue=\"a\",text=\"x,y} \\\"z\\\"\"} 3\njobs{queue=\"b\"} 4 1700000000000\r\n\
                jobs_total 1e3\nspaced { queue = \"c\" , } 5\ninfinite +Inf\nnone NaN\n\nlast 6 # {trace_id=\"1\"} 2";
    let sample = |selector: &str| {
        let selector = Selector::parse(selector).unwrap_or_else(|problem| panic!("{selector}: {problem}"));
        Answer::new(body.as_bytes()).number(&Location::Prometheus(selector))
    };
    for (selector, wanted) in [
        ("jobs", 3.0),
        (r#"jobs{queue="b"}"#, 4.0),
        (r#"jobs{ queue != "a" }"#, 4.0),
        (r#"jobs{text="x,y} \"z\"",queue="a",}"#, 3.0),
        (r#"jobs{other=""}"#, 3.0),
        ("jobs{}", 3.0),
        ("jobs_total", 1000.0),
        (r#"spaced{queue="c"}"#, 5.0),
        ("last", 6.0),
    ] {
        assert_eq!(sample(selector), Ok(wanted), "{selector}");
    }
    for selector in ["job", r#"jobs{queue="c"}"#, r#"jobs_total{queue="a"}"#] {
        assert_eq!(sample(selector), Err(Missing::Nothing), "{selector}");
    }
    assert!(sample("infinite").is_ok_and(f64::is_infinite) && sample("none").is_ok_and(f64::is_nan));
    let of =
        |body: &str| Answer::new(body.as_bytes()).number(&Location::Prometheus(Selector::parse("a").expect("one")));
    for body in ["<html>", "{}", "a", "a{", "a{b} 1", "a{b=\"c\" 1", "a{b=\"c\"d=\"e\"} 1", "a x", "a{b=\"c\"}"] {
        assert!(matches!(of(body), Err(Missing::Bad(_))), "{body}: {:?}", of(body));
    }
    assert_eq!(of(""), Err(Missing::Nothing));
    assert_eq!(of("# nothing yet\n"), Err(Missing::Nothing));
    for selector in [
        "",
        "{a=\"b\"}",
        "a{",
        "a{b}",
        "a{b=c}",
        "a{b=\"c}",
        "a{b=~\"c\"}",
        "a{b!~\"c\"}",
        "a b",
        "a{b=\"c\"} 1",
        "a{=\"c\"}",
    ] {
        assert!(Selector::parse(selector).is_err(), "{selector}");
    }
}

proptest! {
    #[test]
    fn no_path_and_no_answer_makes_it_panic(
        path in prop_oneof![any::<String>(), "[a-c#.|*?@()=<>!%\"\\\\0-9{}\\[\\]]{0,30}"],
        body in prop_oneof![any::<String>(), Just(JSON.to_owned()), "[a-c<>/{}\\[\\]\":0-9, =#\\n&;-]{0,60}"],
    ) {
        let locations = [
            Path::gjson(&path).map(Location::Json),
            Path::plain(&path).map(Location::Yaml),
            Path::plain(&path).map(Location::Xml),
            Selector::parse(&path).map(Location::Prometheus),
        ];
        for location in locations.into_iter().flatten() {
            let _ = Answer::new(body.as_bytes()).number(&location);
        }
    }
}
