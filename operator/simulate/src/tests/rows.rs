//! Rows: what is read, what is refused and with which words, and what becomes of holes.

use super::close;
use crate::{Fill, Reading, Row, Series, Unit, csv, prometheus};

fn times(rows: &[Row]) -> Vec<i64> {
    rows.iter().map(|row| row.at).collect()
}

#[test]
fn a_header_is_optional_and_times_are_seconds_or_rfc_3339() {
    let plain = csv("0,1\n15,2\n").expect("rows");
    assert_eq!(times(&plain), [0, 15_000]);
    let dressed =
        csv("\u{feff}timestamp,value\r\n\r\n# a note\r\n\"1970-01-01T00:00:00Z\", 1 ,x\r\n0.5,\r\n").expect("rows");
    assert_eq!(dressed, [Row { at: 0, value: Some(1.0) }, Row { at: 500, value: None }]);
}

#[test]
fn a_line_that_is_no_row_is_named_with_what_to_write() {
    let table = [
        ("0,1\nx,2\n", "line 2: \"x\" is no time; write Unix seconds or RFC 3339"),
        ("0,1\n5\n", "line 2: \"5\" has no comma; write timestamp,value"),
        ("0,1\n5,abc\n", "line 2: \"abc\" is no number of arrivals"),
        ("0,1\n5,-1\n", "line 2: \"-1\" is no number of arrivals"),
        ("0,1\n5,NaN\n", "line 2: \"NaN\" is no number of arrivals"),
        ("0,1\n5,inf\n", "line 2: \"inf\" is no number of arrivals"),
        ("t,v\n5,1\n5,2\n", "line 3: its time is not after that of the row before"),
        ("5,1\n4,2\n", "line 2: its time is not after"),
        ("1700000000000,1\n", "line 1: \"1700000000000\" is no time"),
        ("a,b\nc,d\n", "line 2: \"c\" is no time"),
    ];
    for (text, says) in table {
        let error = csv(text).expect_err(text).to_string();
        assert!(error.contains(says), "{text:?}: {error}");
    }
    for text in ["", "timestamp,value\n", "0,1\n", "0,\n1,\n2,3\n"] {
        let rows = csv(text).expect("rows");
        let error = Series::new(&rows, Reading::default()).expect_err("too short").to_string();
        assert!(error.contains("give at least 2"), "{text:?}: {error}");
    }
}

#[test]
fn a_hole_is_filled_as_told_and_counted() {
    // 60 s steps; rows are missing from 120 s to 300 s, and the row of 360 s has no value.
    let rows = csv("0,4\n60,8\n300,16\n360,\n420,20\n480,24\n").expect("rows");
    let filled = |fill| Series::new(&rows, Reading { fill, ..Reading::default() }).expect("a series");
    let rates = |fill| filled(fill).points().iter().map(|point| point.rate).collect::<Vec<_>>();
    assert_eq!(rates(Fill::Line), [4.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0, 20.0, 24.0]);
    assert_eq!(rates(Fill::Hold), [4.0, 8.0, 8.0, 8.0, 8.0, 16.0, 16.0, 20.0, 24.0]);
    assert_eq!(rates(Fill::Zero), [4.0, 8.0, 0.0, 0.0, 0.0, 16.0, 0.0, 20.0, 24.0]);
    let series = filled(Fill::Line);
    assert_eq!((series.holes().count, series.holes().seconds), (2, 240));
    assert_eq!((series.step(), series.end()), (60_000, 540_000));
}

#[test]
fn values_per_step_are_divided_by_the_step_and_scaled() {
    let rows = csv("0,60\n60,120\n120,30\n").expect("rows");
    let reading = Reading { unit: Unit::PerStep, scale: 2.0, ..Reading::default() };
    let series = Series::new(&rows, reading).expect("a series");
    close(series.points()[0].rate, 2.0);
    close(series.points()[1].rate, 4.0);
}

#[test]
fn a_timestamp_that_is_years_off_is_no_hole() {
    let rows = csv("0,1\n1,1\n99999999999,1\n").expect("rows");
    let error = Series::new(&rows, Reading::default()).expect_err("too long").to_string();
    assert!(error.contains("more than 5300000"), "{error}");
    let rows = csv("0,1\n1,1\n2,1e300\n").expect("rows");
    let error = Series::new(&rows, Reading::default()).expect_err("too much").to_string();
    assert!(error.contains("arrivals per second are more than can be replayed"), "{error}");
}

#[test]
fn a_range_of_prometheus_is_rows_and_nan_a_hole() {
    let json = r#"{"status":"success","data":{"resultType":"matrix","result":[
        {"metric":{"a":"b"},"values":[[1700000000,"1.5"],[1700000015.5,"NaN"],[1700000030,"0"]]}]}}"#;
    let rows = prometheus(json).expect("rows");
    assert_eq!(times(&rows), [1_700_000_000_000, 1_700_000_015_500, 1_700_000_030_000]);
    assert_eq!(rows.iter().map(|row| row.value).collect::<Vec<_>>(), [Some(1.5), None, Some(0.0)]);
    let nothing = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
    assert_eq!(prometheus(nothing), Ok(Vec::new()));
}

#[test]
fn an_answer_that_is_not_one_series_is_refused_with_what_to_do() {
    let matrix = |result: &str| format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":{result}}}}}"#);
    let table = [
        ("<html>".to_owned(), "cannot be read"),
        (r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#.to_owned(), "is an error: parse error"),
        (r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#.to_owned(), "is a vector, not a matrix"),
        (matrix(r#"[{"values":[]},{"values":[]}]"#), "has 2 series, not one; wrap --query in sum(...)"),
        (matrix(r#"[{"values":[[1,"-3"]]}]"#), "has the value \"-3\" at 1"),
        (matrix(r#"[{"values":[[1,"x"]]}]"#), "has the value \"x\" at 1"),
    ];
    for (json, says) in table {
        let error = prometheus(&json).expect_err(&json).to_string();
        assert!(error.contains(says), "{json}: {error}");
    }
}
