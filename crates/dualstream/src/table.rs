//! Text in columns, as wide as they must be, and bars drawn of blocks.

use console::{Alignment, Style, measure_text_width, pad_str};

/// Rows of cells.
pub struct Table {
    aligned: Vec<Alignment>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table whose columns have these heads; those that begin with `>` are aligned to the right.
    pub fn new(heads: &[&str]) -> Table {
        let is_right = |head: &&str| head.starts_with('>');
        let aligned =
            heads.iter().map(|h| if is_right(h) { Alignment::Right } else { Alignment::Left }).collect();
        let heads = heads.iter().map(|head| head.trim_start_matches('>').to_owned()).collect();
        Table { aligned, rows: vec![heads] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Its lines; the heads in `style`, which no output but a terminal shows.
    pub fn lines(&self, style: &Style) -> Vec<String> {
        let widths: Vec<usize> = (0..self.aligned.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| measure_text_width(cell)).max().unwrap_or(0)
            })
            .collect();
        let line = |cells: &Vec<String>| {
            let padded = cells.iter().zip(&widths).zip(&self.aligned);
            let padded = padded.map(|((cell, &width), &aligned)| pad_str(cell, width, aligned, None));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let mut lines: Vec<String> = self.rows.iter().map(line).collect();
        lines[0] = style.apply_to(&lines[0]).to_string();
        lines
    }
}

/// A bar of `value`, where `most` is `width` characters long. What is not nothing is drawn.
pub fn bar(value: u64, most: u64, width: usize) -> String {
    if value == 0 || most == 0 {
        return String::new();
    }
    let whole = u128::from(value.min(most)) * (width as u128 * 8) / u128::from(most);
    eighths((whole as usize).max(1))
}

/// A bar of so many eighths of a column.
pub fn eighths(count: usize) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    "█".repeat(count / 8) + PARTS[count % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["name", ">records", "kept"]);
        table.row(["events".to_owned(), "7".to_owned(), "7d".to_owned()]);
        table.row(["grün".to_owned(), "1,000,000".to_owned(), String::new()]);
        assert_eq!(
            table.lines(&Style::new()),
            ["name      records  kept", "events          7  7d", "grün    1,000,000"]
        );
    }

    #[test]
    fn bars_are_in_proportion_and_never_nothing() {
        assert_eq!(bar(0, 10, 4), "");
        assert_eq!(bar(0, 0, 4), "");
        assert_eq!(bar(10, 10, 4), "████");
        assert_eq!(bar(5, 10, 4), "██");
        assert_eq!(bar(1, 1_000_000, 4), "▏");
        assert_eq!(bar(3, 8, 1), "▍");
        assert_eq!(bar(u64::MAX, u64::MAX, 4), "████");
    }
}
