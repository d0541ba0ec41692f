//! Tables for the terminal.

use std::io::IsTerminal;

use anstyle::{AnsiColor, Effects, Style};
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};
use evenkeel_reports::{Align, Cell, Emphasis, TableModel};

/// Width of tables where there is no terminal \[characters\].
const WIDTH: u16 = 120;

/// A table of words, columns told apart by space alone.
pub fn plain<const N: usize>(headings: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(width());
    let bold = Style::new().bold();
    table.set_header(headings.map(|heading| format!("{bold}{heading}{bold:#}")));
    table
}

/// A report's table, with its notes below.
pub fn render(model: &TableModel) -> String {
    let mut table = plain([]);
    let bold = Style::new().bold();
    let dimmed = Style::new().effects(Effects::DIMMED);
    table.set_header(model.columns.iter().map(|column| format!("{bold}{}{bold:#}", column.heading)));
    for row in &model.rows {
        table.add_row(row.iter().map(cell));
    }
    keep_whole(&mut table, 0);
    for (index, column) in model.columns.iter().enumerate().skip(1) {
        let cells = model.rows.iter().filter_map(|row| row.get(index));
        let lines = cells.flat_map(|cell| std::iter::once(&cell.text).chain(&cell.details));
        keep_words(&mut table, index, lines.chain(std::iter::once(&column.heading)));
    }
    for (index, column) in model.columns.iter().enumerate() {
        if let (Align::Right, Some(column)) = (column.align, table.column_mut(index)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let notes: String = model.notes.iter().map(|note| format!("\n{dimmed}{note}{dimmed:#}")).collect();
    format!("{}{notes}\n", table.trim_fmt())
}

fn cell(cell: &Cell) -> String {
    let style = match cell.emphasis {
        Emphasis::Plain => Style::new(),
        Emphasis::Name => Style::new().bold(),
        Emphasis::Better => AnsiColor::Green.on_default(),
        Emphasis::Worse => AnsiColor::Red.on_default(),
        Emphasis::Faint => Style::new().effects(Effects::DIMMED),
    };
    let dimmed = Style::new().effects(Effects::DIMMED);
    let details: String = cell.details.iter().map(|detail| format!("\n{dimmed}{detail}{dimmed:#}")).collect();
    format!("{style}{}{style:#}{details}", cell.text)
}

/// Keeps the cells of a column in one line each, if they are not too long.
pub fn keep_whole(table: &mut Table, index: usize) {
    const LONGEST: u16 = 40;
    let fits = table.column_max_content_widths().get(index).is_some_and(|&width| width <= LONGEST);
    if let Some(column) = table.column_mut(index).filter(|_| fits) {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
}

/// Keeps a column as wide as its longest word, however narrow the terminal: a broken figure reads as another figure.
fn keep_words<'a>(table: &mut Table, index: usize, lines: impl Iterator<Item = &'a String>) {
    let longest = lines.flat_map(|line| line.split_whitespace()).map(|word| word.chars().count()).max();
    if let (Some(column), Some(longest)) = (table.column_mut(index), longest) {
        let padding = 2;
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed((longest + padding) as u16)));
    }
}

/// What `COLUMNS` says, else the terminal's width, else a fixed one.
fn width() -> u16 {
    let set = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let measured = std::io::stdout().is_terminal().then(|| console::Term::stdout().size().1);
    set.or(measured).unwrap_or(WIDTH).max(60)
}
