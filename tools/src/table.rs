//! Markdown tables for standard output.

use std::fmt;

use mmprm::util::printable::printable;

/// Rows of cells under a header; columns of numbers are right-aligned.
#[derive(Debug)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns.
    pub fn new<T: Into<String>>(header: impl IntoIterator<Item = T>) -> Self {
        Self { header: header.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Appends a row, one cell per column; control characters are [escaped](printable).
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().map(printable).collect();
        debug_assert_eq!(cells.len(), self.header.len());
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| &row[column]).chain(std::iter::once(&self.header[column]));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let is_number = |cell: &String| cell.parse::<f64>().is_ok();
        let right: Vec<bool> =
            (0..self.header.len()).map(|column| self.rows.iter().all(|row| is_number(&row[column]))).collect();
        let mut line = |cells: &[String]| -> fmt::Result {
            for ((cell, &width), &right) in cells.iter().zip(&widths).zip(&right) {
                let padding = " ".repeat(width - cell.chars().count());
                let (left, right) = if right { (padding.as_str(), "") } else { ("", padding.as_str()) };
                write!(f, "| {left}{cell}{right} ")?;
            }
            writeln!(f, "|")
        };
        line(&self.header)?;
        line(&widths.iter().map(|&width| "-".repeat(width)).collect::<Vec<_>>())?;
        self.rows.iter().try_for_each(|row| line(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_escaped_before_they_are_aligned() {
        let mut table = Table::new(["key", "n"]);
        table.row(["a\u{1b}[2J\nb".to_owned(), "1".to_owned()]);
        table.row(["c".to_owned(), "22".to_owned()]);
        let text = table.to_string();
        let widths: Vec<usize> = text.lines().map(str::len).collect();
        assert!(text.contains("| a\\u{1b}[2J\\nb |  1 |") && widths.iter().all(|&width| width == widths[0]), "{text}");
    }
}
