//! The error budget: which operation's rounding, with sign, makes up a gradient's error.
//!
//! One direction per operation, its signed ζ; the parts of an entry's error add up to it exactly
//! (a telescoping sum), up to the rounding of binary64.

use super::jet::LANES;
use super::propagate::{Leaving, Table};
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
    let all: Vec<usize> = (0..sources.list.len()).collect();
    let groups: Vec<&[usize]> = all.chunks(LANES).collect();
    // per group and lane, its part of each entry
    let of = |group: &[usize]| {
        let mut parts = vec![vec![0.0; entries.len()]; group.len()];
        let inject = |site: Site| {
            let lane = group.iter().position(|&k| sources.list[k].site == site)?;
            let put = |(i, &z): (usize, &f64)| {
                let mut t = [0.0; LANES];
                t[lane] = z;
                (i, t)
            };
            let signed = &sources.list[group[lane]].signed;
            Some(signed.iter().enumerate().filter(|(_, z)| **z != 0.0).map(put).collect())
        };
        table.sweep(inject, |v, moved| {
            let Leaving::Cotangent(c) = moved else { return };
            for (at, (_, i)) in entries.iter().enumerate().filter(|(_, (e, _))| *e == v) {
                parts.iter_mut().enumerate().for_each(|(lane, p)| p[at] = c.data[*i].lanes[lane]);
            }
        });
        group.iter().zip(parts).map(|(&k, part)| (sources.list[k].site, part)).collect::<Vec<_>>()
    };
    let some = |groups: &[&[usize]]| parallel::map(groups.len(), 1, |g| of(groups[g]));
    let parts = groups.chunks(table.together()).flat_map(some).flatten().collect();
    Budget { entries: entries.to_vec(), parts }
}
