//! Lines and columns of text, measured in the columns of a terminal.

use std::io;
use std::os::fd::AsFd;

use rustix::termios::tcgetwinsize;
use unicode_width::UnicodeWidthStr;

/// Columns that the last cell of a line has at least; with fewer it is not cut.
const SHORTEST_CELL: usize = 8;
/// Columns that any other cell keeps where a line is too long.
const NARROWEST: usize = 16;

/// Pads a text with spaces to `width` columns of a terminal. A wide character takes two columns, a combining one none.
pub(crate) fn padded(text: &str, width: usize) -> String {
    format!("{text}{:1$}", "", width.saturating_sub(text.width()))
}

pub(crate) fn widths(head: Option<&Vec<String>>, rows: &[Vec<String>]) -> Vec<usize> {
    let mut widths = Vec::new();
    for row in head.into_iter().chain(rows) {
        widths.resize(row.len().max(widths.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.width().max(*width);
        }
    }
    widths
}

/// Cuts the widest cells until the lines fit the terminal, or no cell is wide. The last column is left alone: it is cut
/// to what is left of the line.
pub(crate) fn narrow(rows: &mut [Vec<String>], widths: &mut [usize], columns: Option<usize>) {
    let Some(columns) = columns else { return };
    loop {
        let over = before_last(widths).saturating_add(SHORTEST_CELL).saturating_sub(columns);
        let Some((_, others)) = widths.split_last_mut() else { return };
        let Some((at, widest)) = others.iter_mut().enumerate().max_by_key(|(_, width)| **width) else { return };
        if over == 0 || *widest <= NARROWEST {
            return;
        }
        *widest = widest.saturating_sub(over).max(NARROWEST);
        let width = *widest;
        rows.iter_mut().filter_map(|row| row.get_mut(at)).for_each(|cell| cut(cell, width));
    }
}

/// The columns that the cells before the last one take, with the gaps after them.
fn before_last(widths: &[usize]) -> usize {
    widths.split_last().map_or(0, |(_, others)| others.iter().map(|width| width.saturating_add(2)).sum())
}

/// Cuts a text to this width, with an ellipsis at its end.
fn cut(text: &mut String, width: usize) {
    if text.width() <= width {
        return;
    }
    while text.width() >= width && text.pop().is_some() {}
    text.push('…');
}

/// As [`aligned`], with the last cell cut to what is left of the line. A cell that has no room at all stays whole.
pub(crate) fn fitted(mut cells: Vec<String>, widths: &[usize], columns: Option<usize>) -> String {
    if let Some(room) =
        columns.and_then(|columns| columns.checked_sub(before_last(widths))).filter(|room| *room >= SHORTEST_CELL)
        && let Some(last) = cells.last_mut()
    {
        cut(last, room);
    }
    aligned(&cells, widths)
}

pub(crate) fn aligned(cells: &[String], widths: &[usize]) -> String {
    let cells: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| padded(cell, *width)).collect();
    cells.join("  ").trim_end().to_owned()
}

/// Breaks a text for the terminal of standard error, where prompts are.
pub(crate) fn on_terminal(text: &str) -> String {
    wrapped(text, width_of(io::stderr()))
}

/// The columns of a terminal; `None` for anything else.
pub(crate) fn width_of(stream: impl AsFd) -> Option<usize> {
    tcgetwinsize(stream).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Breaks a text between words, so that no line is wider than the terminal. A word that is wider stays whole.
pub(crate) fn wrapped(text: &str, width: Option<usize>) -> String {
    let Some(width) = width.filter(|width| text.width() > *width) else { return text.to_owned() };
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.width().saturating_add(1).saturating_add(word.width()) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_cell_is_cut_where_the_line_would_not_fit() {
        let row = |name: &str| vec![name.to_owned(), "active".to_owned(), "emmy@example.org".to_owned()];
        let mut rows = [row("ann"), row(&"long name ".repeat(6))];
        let mut all = widths(None, &rows);

        narrow(&mut rows, &mut all, Some(60));

        assert!(rows.iter().all(|row| fitted(row.clone(), &all, Some(60)).width() <= 60), "{rows:?}");
        assert!(rows[1][0].ends_with('…') && rows[0][0] == "ann", "{rows:?}");
        let mut short = [row("ann"), row("ben")];
        let mut all = widths(None, &short);
        narrow(&mut short, &mut all, Some(80));
        assert_eq!(short, [row("ann"), row("ben")]);
    }
}
