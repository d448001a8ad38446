//! Charts as SVG: geometry is computed here, the template draws it.

use std::fmt::Write as _;

/// Largest number of points that get a marker each.
const MARKED: usize = 60;
/// Width of a scale on the right, in pixels.
const SCALE: f64 = 46.0;

/// Marker shapes, one per series, as path data around the origin.
const MARKERS: [&str; 10] = [
    "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "m-3.5-3.5h7v7h-7z",
    "m0-5l5 5l-5 5l-5-5z",
    "m0-4.5l4.5 8h-9z",
    "m0 4.5l4.5-8h-9z",
    "m-4-4l8 8m0-8l-8 8",
    "m-5 0h10m-5-5v10",
    "m-4.5-2.5h9v5h-9z",
    "m-2.5-4.5h5v9h-5z",
    "m0-5l3 5l-3 5l-3-5z",
];

/// A horizontal line of the grid, with its labels.
pub(super) struct Tick {
    pub at: String,
    pub left: String,
    pub right: String,
}

/// A tick of the outer scale on the right.
pub(super) struct Outer {
    pub from: String,
    pub at: String,
    pub text: String,
}

/// One bar of a histogram, with its figure on top.
pub(super) struct Bar {
    pub class: &'static str,
    pub path: String,
    pub at: String,
    pub text: String,
}

/// A label under the horizontal axis.
pub(super) struct Label {
    pub at: String,
    pub text: String,
}

/// A line across the chart with a meaning of its own.
pub(super) struct Reference {
    pub at: String,
    pub text: String,
    pub text_at: String,
}

/// One series of the chart.
pub(super) struct Series {
    /// Its class in the style sheet: `s0` …
    pub class: String,
    /// The line.
    pub line: String,
    /// The markers.
    pub markers: String,
}

/// What a series is called.
pub(super) struct Legend {
    /// The series' class in the style sheet.
    pub class: String,
    /// Its name.
    pub label: String,
    /// Where the name stands.
    pub legend_at: String,
    /// Where the sample stands.
    pub sample_at: String,
    /// The sample's marker.
    pub sample: String,
}

/// A chart, ready to be drawn.
pub(super) struct Chart {
    pub id: &'static str,
    pub title: String,
    pub desc: String,
    pub width: String,
    pub height: String,
    /// Left, right, top and bottom edge of the plotting area.
    pub left: String,
    pub right: String,
    pub top: String,
    pub bottom: String,
    /// Turn and anchor of the labels under the horizontal axis.
    pub label_turn: String,
    pub label_anchor: &'static str,
    /// Half way up.
    pub middle: String,
    pub left_title: String,
    /// Heads of the two scales on the right, each with its place; empty for none.
    pub right_titles: Vec<Label>,
    pub ticks: Vec<Tick>,
    pub outer: Vec<Outer>,
    pub labels: Vec<Label>,
    pub references: Vec<Reference>,
    pub bars: Vec<Bar>,
    pub series: Vec<Series>,
    /// Empty for a single series.
    pub legend: Vec<Legend>,
    /// Does a point lie beyond the scale?
    pub clipped: bool,
}

/// What is to be plotted.
pub(super) struct Input {
    pub id: &'static str,
    pub title: String,
    pub desc: String,
    /// Width and height of the whole picture.
    pub size: (f64, f64),
    pub left_title: String,
    /// Heads of the scale on the right and of the one beyond it; empty for none.
    pub right_titles: (&'static str, &'static str),
    /// Lowest and highest ordinate.
    pub range: (f64, f64),
    /// Ticks: ordinate, left and right label.
    pub ticks: Vec<(f64, String, String)>,
    /// Ticks of the scale beyond: ordinate, label.
    pub outer: Vec<(f64, String)>,
    /// Lines across: ordinate, text.
    pub references: Vec<(f64, String)>,
    /// Names of the abscissae.
    pub names: Vec<String>,
    /// Series: index of its colour, name, ordinates.
    pub series: Vec<(usize, String, Vec<Option<f64>>)>,
    /// Bars, one per name: class in the style sheet, height, figure.
    pub bars: Vec<(&'static str, f64, String)>,
}

/// A coordinate with one decimal.
pub(super) fn px(x: f64) -> String {
    let s = format!("{x:.1}");
    s.strip_suffix(".0").map_or(s.clone(), str::to_string)
}

/// Lays a chart out.
pub(super) fn lay_out(input: Input) -> Chart {
    let n = input.names.len();
    let (width, height) = input.size;
    let many = n > 40;
    // About 6.5 px a character, after the sample of 48 px.
    let widest = input.series.iter().map(|(_, label, _)| label.chars().count()).max().unwrap_or(0);
    let legend = if input.series.len() > 1 { (60.0 + 6.5 * widest as f64).clamp(150.0, 300.0) } else { 0.0 };
    let scales = [input.right_titles.0, input.right_titles.1].iter().filter(|t| !t.is_empty()).count() as f64;
    let (left, top) = (64.0, if scales > 0.0 { 30.0 } else { 14.0 });
    let right = width - legend - 12.0 - SCALE * scales;
    // Room for slanted names: about 6 px a character, times the sine of the slant.
    let longest = input.names.iter().map(|s| short(s).chars().count()).max().unwrap_or(0);
    let level = many || 6.6 * longest as f64 * n as f64 <= right - left;
    let slant: f64 = if n <= 14 { 45.0 } else { 65.0 };
    let room = if level { 24.0 } else { 18.0 + 6.0 * longest as f64 * slant.to_radians().sin() };
    let bottom = height - room;
    let x = |i: usize| left + (right - left) * (i as f64 + 0.5) / n.max(1) as f64;
    let (lowest, highest) = input.range;
    let y = |v: f64| bottom - (bottom - top) * (v.clamp(lowest, highest) - lowest) / (highest - lowest);

    // With many points only every so many-th is named, by its number in the table.
    let step = (n / 20).max(1).next_power_of_two();
    let labels = (0..n)
        .filter(|i| !many || i % step == 0)
        .map(|i| Label {
            at: format!("{} {}", px(x(i)), px(bottom + 13.0)),
            text: if many { format!("#{}", i + 1) } else { short(&input.names[i]) },
        })
        .collect();
    let series = input.series.iter().map(|(class, _, values)| Series {
        class: format!("s{class}"),
        line: line(values, &x, &y),
        markers: markers(values, (lowest, highest), MARKERS[class % MARKERS.len()], n <= MARKED, &x, &y),
    });
    let entry = |(k, (class, label, _)): (usize, &(usize, String, _))| {
        let (at, row) = (width - legend + 12.0, top + 10.0 + 20.0 * k as f64);
        Legend {
            class: format!("s{class}"),
            label: label.clone(),
            legend_at: format!("{} {}", px(at + 36.0), px(row + 4.0)),
            sample_at: format!("{} {}", px(at), px(row)),
            sample: format!("M14 0{}", MARKERS[class % MARKERS.len()]),
        }
    };
    let entries = if legend > 0.0 { input.series.iter().enumerate().map(entry).collect() } else { Vec::new() };
    let outer = input.outer.iter().filter(|(v, _)| (lowest..=highest).contains(v)).map(|(v, text)| Outer {
        from: px(right + SCALE),
        at: px(y(*v)),
        text: text.clone(),
    });
    let half = (right - left) / n.max(1) as f64 * 0.35;
    let bar = |(i, (class, value, text)): (usize, &(&'static str, f64, String))| Bar {
        class,
        path: format!("M{} {}V{}H{}V{}z", px(x(i) - half), px(bottom), px(y(*value)), px(x(i) + half), px(bottom)),
        at: format!("{} {}", px(x(i)), px(y(*value) - 4.0)),
        text: text.clone(),
    };
    let beyond = |v: &f64| !(lowest..=highest).contains(v);
    let clipped = input.series.iter().flat_map(|(_, _, values)| values.iter().flatten()).any(beyond);
    let heads = [(input.right_titles.0, 6.0), (input.right_titles.1, 6.0 + SCALE)];
    let references = input.references.iter().filter(|(v, _)| (lowest..=highest).contains(v));
    Chart {
        id: input.id,
        width: px(width),
        height: px(height),
        left: px(left),
        right: px(right),
        top: px(top),
        bottom: px(bottom),
        label_turn: if level { "0".into() } else { px(-slant) },
        label_anchor: if level { "middle" } else { "end" },
        ticks: input.ticks.into_iter().map(|(v, left, right)| Tick { at: px(y(v)), left, right }).collect(),
        labels,
        references: references
            .map(|(v, text)| Reference { at: px(y(*v)), text: text.clone(), text_at: px(y(*v) - 4.0) })
            .collect(),
        series: series.collect(),
        legend: entries,
        clipped,
        middle: px((top + bottom) / 2.0),
        right_titles: heads
            .iter()
            .filter(|(t, _)| !t.is_empty())
            .map(|(t, dx)| Label { at: format!("{} {}", px(right + dx), px(top - 14.0)), text: (*t).into() })
            .collect(),
        outer: outer.collect(),
        bars: input.bars.iter().enumerate().filter(|(_, (_, value, _))| *value > 0.0).map(bar).collect(),
        title: input.title,
        desc: input.desc,
        left_title: input.left_title,
    }
}

/// The line through the points there are; a missing one breaks it. Steps are relative, which is shorter, in whole
/// tenths, so that they add up.
fn line(values: &[Option<f64>], x: &impl Fn(usize) -> f64, y: &impl Fn(f64) -> f64) -> String {
    let tenths = |v: f64| (v * 10.0).round() as i64;
    let mut path = String::new();
    let mut pen: Option<(i64, i64)> = None;
    for (i, v) in values.iter().enumerate() {
        let Some(v) = v else {
            pen = None;
            continue;
        };
        let at = (tenths(x(i)), tenths(y(*v)));
        match pen {
            None => {
                let _ = write!(path, "M{}", pair(at.0, at.1));
            }
            Some(last) => {
                let _ = write!(path, "l{}", pair(at.0 - last.0, at.1 - last.1));
            }
        }
        pen = Some(at);
    }
    path
}

/// Two coordinates in tenths as path data.
fn pair(x: i64, y: i64) -> String {
    let one = |n: i64| match (n / 10, n % 10) {
        (whole, 0) => whole.to_string(),
        (0, part) => format!("{}.{}", if n < 0 { "-" } else { "" }, part.abs()),
        (whole, part) => format!("{whole}.{}", part.abs()),
    };
    format!("{}{}{}", one(x), if y < 0 { "" } else { " " }, one(y))
}

/// A marker at every point, or only at points without neighbours where there are many; what is off
/// the scale gets a wedge at the edge.
fn markers(
    values: &[Option<f64>],
    (lowest, highest): (f64, f64),
    shape: &str,
    all: bool,
    x: &impl Fn(usize) -> f64,
    y: &impl Fn(f64) -> f64,
) -> String {
    let mut path = String::new();
    for (i, v) in values.iter().enumerate() {
        let Some(v) = v else { continue };
        let neighbour = |j: Option<usize>| j.and_then(|j| values.get(j)).is_some_and(Option::is_some);
        let alone = !neighbour(i.checked_sub(1)) && !neighbour(i.checked_add(1));
        let off = *v > highest || *v < lowest;
        if all || alone {
            let wedge = match (off, *v > highest) {
                (false, _) => shape,
                (true, true) => "m-5 7l5-7l5 7",
                (true, false) => "m-5-7l5 7l5-7",
            };
            let _ = write!(path, "M{} {}{wedge}", px(x(i)), px(y(*v)));
        }
    }
    path
}

/// A name that fits under the axis: its end, which tells layers apart.
fn short(name: &str) -> String {
    let n = name.chars().count();
    if n <= 22 { name.into() } else { format!("…{}", name.chars().skip(n - 21).collect::<String>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(values: Vec<Option<f64>>) -> Input {
        Input {
            id: "c",
            title: "t".into(),
            desc: "d".into(),
            size: (800.0, 300.0),
            left_title: String::new(),
            right_titles: ("", ""),
            range: (0.0, 10.0),
            ticks: vec![(0.0, "0".into(), String::new())],
            outer: vec![(2.0, "two".into()), (12.0, "twelve".into())],
            references: vec![(5.0, "five".into()), (11.0, "eleven".into())],
            names: values.iter().map(|_| "n".to_string()).collect(),
            series: vec![(0, "a".into(), values)],
            bars: vec![("pass", 5.0, "5".into())],
        }
    }

    #[test]
    fn a_missing_point_breaks_the_line_and_a_lone_one_is_marked() {
        let c = lay_out(input(vec![Some(1.0), Some(2.0), None, Some(3.0)]));
        assert_eq!(c.series[0].line.matches('M').count(), 2);
        assert_eq!(c.series[0].line.matches('l').count(), 1);
        assert_eq!((c.references.len(), c.outer.len()), (1, 1), "what is off the scale is left out");
        assert_eq!(c.bars[0].path.matches(&c.bottom).count(), 2, "bars stand on the axis");
        // With many points, only the lone one.
        let mut values = vec![Some(1.0); 100];
        values[98] = None;
        assert_eq!(lay_out(input(values)).series[0].markers.matches('M').count(), 1);
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!(pair(5, -12), ".5-1.2");
        assert_eq!(pair(-3, 0), "-.3 0");
        assert_eq!(pair(120, 123), "12 12.3");
        assert_eq!(pair(-10, -15), "-1-1.5");
    }

    #[test]
    fn coordinates_stay_inside() {
        let c = lay_out(input(vec![Some(-5.0), Some(500.0)]));
        // from the bottom to the top
        let height: f64 = c.bottom.parse::<f64>().unwrap() - c.top.parse::<f64>().unwrap();
        assert!(c.series[0].line.contains(&format!(" {}l", c.bottom)), "{}", c.series[0].line);
        assert!(c.series[0].line.ends_with(&format!("-{}", px(height))), "{}", c.series[0].line);
        assert!(c.series[0].markers.contains("m-5 7"), "off the scale at the top");
        assert!(c.clipped && !lay_out(input(vec![Some(0.0), Some(10.0), None])).clipped);
    }
}
