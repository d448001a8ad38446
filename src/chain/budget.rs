//! The error budget: which operation's rounding, with sign, makes up a gradient's error.
//!
//! One direction per operation, its signed ζ; the parts of an entry's error add up to it exactly
//! (a telescoping sum), up to the rounding of binary64.

use super::jet::LANES;
use super::propagate::Table;
use super::sources::{Site, Sources};
use crate::ir::ValueId;
use crate::num::parallel;

/// What each source adds to some entries' errors.
#[derive(Clone, Debug)]
pub struct Budget {
    /// The entries: parameter and flat position.
    pub entries: Vec<(ValueId, usize)>,
    /// For every source, its part of each entry's error.
    pub parts: Vec<(Site, Vec<f64>)>,
}

/// The parts of the errors of some gradient entries.
pub fn budget(table: &Table, sources: &Sources, entries: &[(ValueId, usize)]) -> Budget {
    let groups: Vec<Vec<usize>> =
        (0..sources.list.len()).collect::<Vec<_>>().chunks(LANES).map(<[usize]>::to_vec).collect();
    let parts: Vec<Vec<(Site, Vec<f64>)>> = parallel::map(groups.len(), 1, |g| {
        let group = &groups[g];
        let moves = table.sweep(|site| {
            let lane = group.iter().position(|&k| sources.list[k].site == site)?;
            let put = |(i, &z): (usize, &f64)| {
                let mut t = [0.0; LANES];
                t[lane] = z;
                (i, t)
            };
            let signed = &sources.list[group[lane]].signed;
            Some(signed.iter().enumerate().filter(|(_, z)| **z != 0.0).map(put).collect())
        });
        group
            .iter()
            .enumerate()
            .map(|(lane, &k)| {
                let at = |&(v, i): &(ValueId, usize)| {
                    moves.cotangents[v.index()].as_ref().map_or(0.0, |a| a.data[i].lanes[lane])
                };
                (sources.list[k].site, entries.iter().map(at).collect())
            })
            .collect()
    });
    Budget { entries: entries.to_vec(), parts: parts.into_iter().flatten().collect() }
}
