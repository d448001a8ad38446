//! [`Index`]: where each entry of a gathered tensor comes from.

use std::sync::Arc;

/// For every flat position of the result, the flat position it is read from.
#[derive(Clone, Debug, PartialEq)]
pub enum Index {
    /// Position i from position i (reshapes).
    Identity,
    /// Position i from `table[i]`; [`Index::NOTHING`] is an exact zero.
    Table(Arc<[u32]>),
}

impl Index {
    /// The table entry of an exact zero.
    pub const NOTHING: u32 = u32::MAX;

    /// Where entry i comes from; `None` is an exact zero.
    #[inline(always)]
    pub fn source(&self, i: usize) -> Option<usize> {
        match self {
            Index::Identity => Some(i),
            Index::Table(t) => (t[i] != Index::NOTHING).then_some(t[i] as usize),
        }
    }

    /// For every one of `n` source positions, the positions that read it, in increasing order:
    /// readers of j are `list[start[j]..start[j + 1]]`.
    pub fn readers(&self, n: usize, outputs: usize) -> (Vec<u32>, Vec<u32>) {
        let mut start = vec![0u32; n + 1];
        for i in 0..outputs {
            if let Some(j) = self.source(i) {
                start[j + 1] += 1;
            }
        }
        for j in 0..n {
            start[j + 1] += start[j];
        }
        let mut next = start.clone();
        let mut list = vec![0u32; start[n] as usize];
        for i in 0..outputs {
            if let Some(j) = self.source(i) {
                list[next[j] as usize] = i as u32;
                next[j] += 1;
            }
        }
        (start, list)
    }
}
