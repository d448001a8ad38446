//! The file's own gradients against the derivatives.

use askama::Template;

use super::cell::{self, Cell, Mark};
use crate::certificate::{Certificate, GradientSource};

/// The table, one row per gradient that the file states.
#[derive(Template)]
#[template(path = "report/agreement.html")]
pub(super) struct Agreements {
    source: &'static str,
    rows: Vec<Row>,
}

struct Row {
    parameter: String,
    tensor: String,
    norm: Cell,
    difference: Cell,
    limit: Cell,
    meets: &'static str,
    mark: Mark,
    place: String,
}

pub(super) fn agreements(c: &Certificate) -> Agreements {
    let source = match c.gradient_source {
        GradientSource::Derived => "The gradients were derived from the graph by this tool's reverse mode.",
        GradientSource::File => {
            "The graph computes the gradients itself; they were analysed as the forward computation that they are."
        }
    };
    let rows = c.agreement.iter().map(|a| Row {
        parameter: cell::name(&a.parameter),
        tensor: cell::name(&a.tensor),
        norm: cell::ends(a.derived_norm).1,
        difference: cell::ends(a.difference).1,
        limit: cell::lower(a.limit),
        meets: if a.enclosures_meet { "yes" } else { "no" },
        mark: cell::mark(a.verdict),
        place: a.wrong_node.as_ref().map_or_else(String::new, |w| {
            format!(
                "first wrong node {} ({}), which computes {}",
                cell::name(&w.node),
                cell::name(&w.op),
                cell::name(&w.tensor)
            )
        }),
    });
    Agreements { source, rows: rows.collect() }
}
