use super::*;
use crate::fixture;

fn read(table: &Table, summary: &Summary) -> Vec<csv::StringRecord> {
    let bytes = table.csv(summary).expect("writing to memory");
    // The reader refuses rows of another length than the headers.
    csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(bytes.as_slice())
        .records()
        .collect::<Result<_, _>>()
        .expect("rows as long as the headers")
}

#[test]
fn every_header_of_every_table_is_in_the_dictionary() {
    let summary = fixture::crash();
    let dictionary = dictionary(&summary);
    for table in &TABLES {
        let section = dictionary
            .split("\n## ")
            .find(|section| section.starts_with(&format!("{}.csv\n", table.name)))
            .unwrap_or_else(|| panic!("{} is not described", table.name));
        let headers = &read(table, &summary)[0];
        assert_eq!(section.matches("\n| `").count(), headers.len(), "{}", table.name);
        assert!(
            headers.iter().all(|header| section.contains(&format!("\n| `{header}` | "))),
            "{}",
            table.name
        );
    }
}

#[test]
fn every_cell_of_a_column_of_numbers_is_empty_or_a_number() {
    let summary = fixture::crash();
    for table in &TABLES {
        let rows = read(table, &summary);
        for (place, name) in rows[0].iter().enumerate().filter(|(_, name)| NUMBERS.contains(name)) {
            let cells = rows[1..].iter().map(|row| &row[place]);
            let odd: Vec<_> = cells.filter(|cell| !cell.is_empty() && cell.parse::<f64>().is_err()).collect();
            assert!(odd.is_empty(), "{}.{name}: {odd:?}", table.name);
        }
    }
}

#[test]
fn the_metrics_table_has_the_promised_columns() {
    let headers = &read(&TABLES[0], &fixture::crash())[0];
    let expected = "scenario,strategy,phase,metric,unit,mean,half_width,n,p50,p95,noise_floor,difference,difference_half_width,difference_p";
    assert_eq!(headers.iter().collect::<Vec<_>>().join(","), expected);
}

#[test]
fn every_metric_of_every_phase_is_a_row() {
    let summary = fixture::crash();
    let metrics: usize = summary.strategies.iter().map(|strategy| strategy.metrics.len()).sum();
    assert_eq!(read(&TABLES[0], &summary).len(), metrics + 1);
}

#[test]
fn floats_read_back_exactly_and_what_is_undefined_is_empty() {
    assert_eq!(float(0.1 + 0.2).parse::<f64>(), Ok(0.1 + 0.2));
    assert_eq!(float(-0.0), "0");
    assert_eq!(float(f64::NAN), "");
    assert_eq!(estimate(None), ["", "", "0"]);
}

#[test]
fn names_with_quotes_and_commas_survive() {
    let summary = fixture::nasty();
    let rows = read(&TABLES[1], &summary);
    assert_eq!(&rows[1][1], summary.strategies[0].name);
}

#[test]
fn an_empty_result_still_has_headers() {
    let mut summary = fixture::nasty();
    summary.strategies.clear();
    for table in &TABLES {
        assert_eq!(read(table, &summary).len(), 1, "{}", table.name);
    }
}
