//! The graph as a picture: one line per node in the order of execution, what it reads as lines along
//! the left, its correct digits as colour and figure.

use std::collections::HashMap;
use std::fmt::Write as _;

use askama::Template;

use super::cell;
use super::chart::px;
use crate::certificate::{Certificate, Num};

/// Width of the page's column, in CSS pixels.
const WIDTH: f64 = 1180.0;
/// Up to so many nodes are drawn with their names.
const NAMED: usize = 240;
/// Lanes for lines that pass by other nodes; further ones share the last.
const LANES: usize = 14;
/// Distance of lanes, in pixels.
const LANE: f64 = 7.0;

/// A node of the graph: what it reads, as indices of earlier nodes, and the fewest correct digits of
/// the gradients of its parameters.
pub(super) struct GraphNode {
    pub reads: Vec<usize>,
    pub backward: Option<Num>,
}

/// Resolves names. A name that stands for several nodes is taken for the last one before the reader.
pub(super) fn nodes(c: &Certificate) -> Vec<GraphNode> {
    let mut fewest: HashMap<&str, Num> = HashMap::new();
    for g in &c.gradients {
        let least = fewest.entry(&g.node).or_insert(g.correct_digits);
        if g.correct_digits.get() < least.get() {
            *least = g.correct_digits;
        }
    }
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut all = Vec::with_capacity(c.forward.len());
    for (i, l) in c.forward.iter().enumerate() {
        let mut reads: Vec<usize> = l.inputs.iter().filter_map(|n| seen.get(n.as_str()).copied()).collect();
        reads.sort_unstable();
        reads.dedup();
        all.push(GraphNode { reads, backward: fewest.get(l.node.as_str()).copied() });
        seen.insert(&l.node, i);
    }
    all
}

/// The picture.
#[derive(Template)]
#[template(path = "report/graph.html")]
pub(super) struct Picture {
    width: String,
    height: String,
    edges: String,
    /// The boxes of each colour, those of the legend among them.
    boxes: Vec<Boxes>,
    /// What stands in the boxes.
    figures: Vec<Text>,
    /// What stands beside them.
    names: Vec<Text>,
    legend: Vec<Text>,
    heads: Vec<Text>,
}

/// All boxes of one colour, as one path.
struct Boxes {
    class: &'static str,
    path: String,
}

struct Text {
    at: String,
    text: String,
}

impl Text {
    fn new(x: f64, y: f64, text: String) -> Text {
        Text { at: format!("{} {}", px(x), px(y)), text }
    }
}

/// Classes in the style sheet, and what they stand for; `d0` has lost all, `dn` has no digits to lose.
const CLASSES: [(&str, &str); 6] = [
    ("d4", "6 digits or more"),
    ("d3", "5 to 6"),
    ("d2", "4 to 5"),
    ("d1", "2 to 4"),
    ("d0", "below 2"),
    ("dn", "reads no parameter"),
];

/// The class of a number of digits.
fn class(digits: f64) -> &'static str {
    match digits {
        d if d >= 6.0 => "d4",
        d if d >= 5.0 => "d3",
        d if d >= 4.0 => "d2",
        d if d >= 2.0 => "d1",
        _ => "d0",
    }
}

/// Where nodes stand.
struct Layout {
    /// Nodes per column.
    rows: usize,
    /// Height of a line, width of a column, width of a box.
    row: f64,
    column: f64,
    width: f64,
    /// Left edge of the boxes within the column.
    boxes: f64,
    top: f64,
}

impl Layout {
    fn of(n: usize, lanes: usize) -> Layout {
        let columns = match n {
            0..=24 => 1,
            25..=72 => 2,
            73..=NAMED => 3,
            _ => 6,
        };
        let dense = n > NAMED;
        Layout {
            rows: n.div_ceil(columns),
            row: if dense { 6.0 } else { 21.0 },
            column: WIDTH / columns as f64,
            width: if dense { 20.0 } else { 34.0 },
            boxes: 16.0 + LANE * lanes as f64,
            top: if dense { 8.0 } else { 26.0 },
        }
    }

    /// Left end and middle of a node's line.
    fn at(&self, i: usize) -> (f64, f64) {
        ((i / self.rows) as f64 * self.column, self.top + self.row * ((i % self.rows) as f64 + 0.5))
    }
}

/// The lane of every line that passes by a node: the first that is free.
fn lanes(nodes: &[GraphNode]) -> (Vec<(usize, usize, usize)>, usize) {
    let mut free: Vec<usize> = Vec::new();
    let mut lines: Vec<(usize, usize)> = Vec::new();
    for (to, n) in nodes.iter().enumerate() {
        lines.extend(n.reads.iter().map(|&from| (from, to)));
    }
    // By start; of one start the shortest first, nearest to the boxes.
    lines.sort_unstable();
    let place = |(from, to): (usize, usize)| {
        let lane = free.iter().position(|&end| end <= from).unwrap_or(free.len()).min(LANES - 1);
        match free.get_mut(lane) {
            Some(end) => *end = to.max(*end),
            None => free.push(to),
        }
        (from, to, lane)
    };
    let placed: Vec<_> = lines.into_iter().filter(|(from, to)| to - from > 1).map(place).collect();
    let used = free.len();
    (placed, used)
}

/// Draws the graph; `None` where there is none.
pub(super) fn picture(c: &Certificate, nodes: &[GraphNode]) -> Option<Picture> {
    if nodes.is_empty() {
        return None;
    }
    let (lines, used) = lanes(nodes);
    let l = Layout::of(nodes.len(), used);
    let dense = nodes.len() > NAMED;
    let mut boxes: Vec<Boxes> = CLASSES.iter().map(|&(class, _)| Boxes { class, path: String::new() }).collect();
    let (mut figures, mut names) = (Vec::new(), Vec::new());
    let height = l.row - if dense { 1.0 } else { 3.0 };
    for (i, node) in nodes.iter().enumerate() {
        let (x, y) = l.at(i);
        let forward = Some(c.forward[i].correct_digits);
        for (left, digits) in [(x + l.boxes, forward), (x + l.boxes + l.width, node.backward)] {
            let class = digits.map_or("dn", |d| class(d.get()));
            if let Some(b) = boxes.iter_mut().find(|b| b.class == class) {
                b.path += &rectangle(left, y, l.width - 2.0, height);
            }
            if !dense {
                let figure = digits.map_or_else(|| "–".into(), cell::digits);
                figures.push(Text::new(left + l.width / 2.0 - 1.0, y + 4.0, figure));
            }
        }
        let f = &c.forward[i];
        let beside = x + l.boxes + 2.0 * l.width + 10.0;
        if !dense {
            let room = ((l.column - l.boxes - 2.0 * l.width - 20.0) / 6.6).max(8.0) as usize;
            let name = format!("#{} {} ({})", i + 1, cell::name(&f.node), cell::name(&f.op));
            names.push(Text::new(beside, y + 4.0, shorten(&name, room)));
        } else if i % 16 == 0 {
            names.push(Text::new(beside, y + 4.0, format!("#{}", i + 1)));
        }
    }
    let bottom = l.top + l.row * l.rows as f64;
    let legend = legend(bottom + 10.0, &mut boxes);
    Some(Picture {
        width: format!("{WIDTH}"),
        height: format!("{:.0}", bottom + 34.0),
        edges: edges(nodes, &lines, &l),
        boxes,
        figures,
        names,
        legend,
        heads: if dense { Vec::new() } else { heads(&l, nodes.len()) },
    })
}

/// A rectangle from its left edge and its middle.
fn rectangle(left: f64, middle: f64, width: f64, height: f64) -> String {
    let (width, height, top) = (px(width), px(height), px(middle - height / 2.0));
    format!("M{} {top}h{width}v{height}h-{width}z", px(left))
}

/// What the boxes are, above each column.
fn heads(l: &Layout, n: usize) -> Vec<Text> {
    let above = |k: usize| {
        let x = k as f64 * l.column + l.boxes;
        let head = |dx: f64, text: &str| Text::new(x + dx, l.top - 8.0, text.into());
        [head(0.0, "fwd"), head(l.width, "grad")]
    };
    (0..n.div_ceil(l.rows)).flat_map(above).collect()
}

/// All lines as one path. Neighbours are joined straight, others through their lane; a line that goes
/// on in the next column leaves at the bottom and enters at the top.
fn edges(nodes: &[GraphNode], lines: &[(usize, usize, usize)], l: &Layout) -> String {
    let mut path = String::new();
    let half = l.row / 2.0;
    for (to, node) in nodes.iter().enumerate().skip(1) {
        if node.reads.contains(&(to - 1)) {
            let ((x, y), (_, before)) = (l.at(to), l.at(to - 1));
            let middle = x + l.boxes + l.width / 2.0 - 1.0;
            let start = if to % l.rows == 0 { y - half } else { before };
            let _ = write!(path, "M{} {}V{}", px(middle), px(start), px(y));
            if to % l.rows == 0 {
                let (last, end) = l.at(to - 1);
                let _ = write!(path, "M{} {}v{}", px(last + l.boxes + l.width / 2.0 - 1.0), px(end), px(half));
            }
        }
    }
    for &(from, to, lane) in lines {
        let inset = l.boxes - 8.0 - LANE * lane as f64;
        for column in from / l.rows..=to / l.rows {
            let (first, last) = (column * l.rows, column * l.rows + l.rows - 1);
            let x = column as f64 * l.column;
            let top = if from >= first { l.at(from).1 } else { l.at(first).1 - half };
            let end = if to <= last { l.at(to).1 } else { l.at(last).1 + half };
            let edge = x + l.boxes;
            if from >= first {
                let _ = write!(path, "M{} {}H{}", px(edge), px(top), px(x + inset));
            } else {
                let _ = write!(path, "M{} {}", px(x + inset), px(top));
            }
            let _ = write!(path, "V{}", px(end));
            if to <= last {
                let _ = write!(path, "H{}m-5-3l5 3l-5 3", px(edge));
            }
        }
    }
    path
}

/// What the colours mean; their boxes are drawn with the others.
fn legend(top: f64, boxes: &mut [Boxes]) -> Vec<Text> {
    let entry = |(k, (b, (_, text))): (usize, (&mut Boxes, &(&str, &str)))| {
        let x = 16.0 + 150.0 * k as f64;
        b.path += &rectangle(x, top + 8.0, 26.0, 14.0);
        Text::new(x + 32.0, top + 12.0, (*text).into())
    };
    boxes.iter_mut().zip(&CLASSES).enumerate().map(entry).collect()
}

/// A text that fits into so many characters: its beginning and its end.
fn shorten(text: &str, room: usize) -> String {
    let n = text.chars().count();
    if n <= room {
        return text.into();
    }
    let head: String = text.chars().take(room / 3).collect();
    let tail: String = text.chars().skip(n - (room - room / 3 - 1)).collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(reads: &[usize]) -> GraphNode {
        GraphNode { reads: reads.to_vec(), backward: None }
    }

    #[test]
    fn lines_that_overlap_have_lanes_of_their_own() {
        let (lines, used) = lanes(&[node(&[]), node(&[0]), node(&[1, 0]), node(&[2, 0]), node(&[3]), node(&[4, 3])]);
        assert_eq!(lines, [(0, 2, 0), (0, 3, 1), (3, 5, 0)]);
        assert_eq!(used, 2);
        let crowd: Vec<GraphNode> = (0..60).map(|i| node(&(0..i).collect::<Vec<_>>())).collect();
        assert!(lanes(&crowd).1 <= LANES);
    }

    #[test]
    fn every_node_has_a_place_of_its_own() {
        for n in [1, 24, 25, 72, 73, 240, 241, 1000] {
            let l = Layout::of(n, 3);
            let mut places: Vec<String> = (0..n).map(|i| format!("{:?}", l.at(i))).collect();
            places.sort();
            places.dedup();
            assert_eq!(places.len(), n);
            assert!(l.at(n - 1).0 + l.boxes + 2.0 * l.width < WIDTH);
        }
    }

    #[test]
    fn digits_have_five_classes() {
        assert_eq!([7.2, 5.9, 4.0, 3.9, 1.9].map(class), ["d4", "d3", "d2", "d1", "d0"]);
    }
}
