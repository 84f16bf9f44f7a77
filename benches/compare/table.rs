//! A table, for a terminal or as Markdown. The first columns are names, the others figures.

#[derive(Clone, Debug)]
pub struct Table {
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
    /// So many columns are text, and begin at the left.
    pub names: usize,
}

impl Table {
    pub fn new(names: usize, head: impl IntoIterator<Item = impl Into<String>>) -> Table {
        Table {
            head: head.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
            names,
        }
    }

    pub fn plain(&self) -> String {
        let lines = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| {
            let cells = lines().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut text = String::new();
        for row in lines() {
            let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
                if column < self.names {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            });
            text.push_str("  ");
            text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            text.push('\n');
        }
        text
    }

    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | ").replace("|  |", "| |"));
        let rule = |column| if column < self.names { "---" } else { "---:" };
        let rules: Vec<&str> = (0..self.head.len()).map(rule).collect();
        let mut text = line(&self.head);
        text.push_str(&format!("|{}|\n", rules.join("|")));
        text.extend(self.rows.iter().map(|row| line(row)));
        text
    }
}
