//! [`Index`]: where each entry of a gathered tensor comes from.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// For every flat position of the result, the flat position it is read from.
#[derive(Clone, Debug, PartialEq)]
pub enum Index {
    /// Position i from position i (reshapes).
    Identity,
    /// Position i from `table[i]`; [`Index::NOTHING`] is an exact zero.
    Table(Table),
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
}

/// A table of places; copies share it.
#[derive(Clone, Debug)]
pub struct Table(Arc<Places>);

#[derive(Debug)]
struct Places {
    list: Box<[u32]>,
    readers: OnceLock<Readers>,
    run: OnceLock<usize>,
}

impl Table {
    /// Who reads each place, found out once.
    pub fn readers(&self) -> &Readers {
        self.0.readers.get_or_init(|| Readers::of(self))
    }

    /// How many places follow each other, everywhere, found out once.
    pub fn run(&self) -> usize {
        *self.0.run.get_or_init(|| run_of(self))
    }
}

/// The largest n such that the table is made of n places at a time that follow each other (or are all
/// [`Index::NOTHING`]).
fn run_of(table: &[u32]) -> usize {
    let follows = |i: usize| match (table[i - 1], table[i]) {
        (Index::NOTHING, j) => j == Index::NOTHING,
        (before, j) => j == before + 1,
    };
    let gcd = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    (1..table.len()).filter(|&i| !follows(i)).fold(table.len(), gcd)
}

impl From<Vec<u32>> for Table {
    fn from(places: Vec<u32>) -> Table {
        Table(Arc::new(Places { list: places.into(), readers: OnceLock::new(), run: OnceLock::new() }))
    }
}

impl FromIterator<u32> for Table {
    fn from_iter<I: IntoIterator<Item = u32>>(places: I) -> Table {
        places.into_iter().collect::<Vec<u32>>().into()
    }
}

impl Deref for Table {
    type Target = [u32];
    fn deref(&self) -> &[u32] {
        &self.0.list
    }
}

impl PartialEq for Table {
    fn eq(&self, other: &Table) -> bool {
        **self == **other
    }
}

/// For every source position, the positions that read it, in increasing order.
#[derive(Clone, Debug, PartialEq)]
pub enum Readers {
    /// Nobody is read twice: the reader of each, or [`Index::NOTHING`].
    One(Table),
    /// Broadcasting: position i reads ⌊i/inner⌋ mod n, and there are outer·n·inner positions.
    Repeated {
        /// How often the whole is repeated.
        outer: usize,
        /// Source positions.
        n: usize,
        /// How often each is repeated in place.
        inner: usize,
    },
    /// Readers of j are `list[start[j]..start[j + 1]]`.
    Many {
        /// Where the readers of each begin, and where the last one's end.
        start: Box<[u32]>,
        /// All readers.
        list: Box<[u32]>,
    },
}

impl Readers {
    fn of(table: &[u32]) -> Readers {
        let read = || table.iter().enumerate().filter(|(_, j)| **j != Index::NOTHING);
        let n = read().map(|(_, &j)| j as usize + 1).max().unwrap_or(0);
        let mut start = vec![0u32; n + 1];
        for (_, &j) in read() {
            start[j as usize + 1] += 1;
        }
        if start.iter().all(|&count| count <= 1) {
            let mut reader = vec![Index::NOTHING; n];
            for (i, &j) in read() {
                reader[j as usize] = i as u32;
            }
            return Readers::One(reader.into());
        }
        let inner = table.iter().take_while(|&&j| j == 0).count();
        if inner > 0 && table.len().is_multiple_of(n * inner) {
            let outer = table.len() / (n * inner);
            let mut places = (0..outer).flat_map(|_| (0..n).flat_map(|j| std::iter::repeat_n(j as u32, inner)));
            if table.iter().all(|&j| places.next() == Some(j)) {
                return Readers::Repeated { outer, n, inner };
            }
        }
        for j in 0..n {
            start[j + 1] += start[j];
        }
        let mut next = start.clone();
        let mut list = vec![0u32; start[n] as usize];
        for (i, &j) in read() {
            list[next[j as usize] as usize] = i as u32;
            next[j as usize] += 1;
        }
        Readers::Many { start: start.into(), list: list.into() }
    }

    /// The readers of position j.
    pub fn at(&self, j: usize) -> impl Iterator<Item = usize> + '_ {
        let count = match self {
            Readers::One(reader) => usize::from(reader.get(j).is_some_and(|&i| i != Index::NOTHING)),
            Readers::Repeated { outer, n, inner } if j < *n => outer * inner,
            Readers::Repeated { .. } => 0,
            Readers::Many { start, .. } if j + 1 < start.len() => (start[j + 1] - start[j]) as usize,
            Readers::Many { .. } => 0,
        };
        (0..count).map(move |q| match self {
            Readers::One(reader) => reader[j] as usize,
            Readers::Repeated { n, inner, .. } => (q / inner * n + j) * inner + q % inner,
            Readers::Many { start, list } => list[start[j] as usize + q] as usize,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_places_that_follow_each_other() {
        const NO: u32 = Index::NOTHING;
        let tables: [(&[u32], usize); 9] = [
            (&[], 0),
            (&[5], 1),
            (&[0, 1, 2], 3),
            (&[4, 5, 0, 1, 2, 3], 2),
            (&[3, 4, 5, 3, 4, 5], 3),
            (&[1, 1, 1], 1),
            (&[NO, NO, 0, 1], 2),
            (&[NO, 0, 1, 2], 1),
            (&[0, 1, 2, NO, NO, NO], 3),
        ];
        for (places, want) in tables {
            assert_eq!(Table::from(places.to_vec()).run(), want, "{places:?}");
        }
    }

    #[test]
    fn readers_are_who_reads() {
        const NO: u32 = Index::NOTHING;
        let repeated = |outer: usize, n: usize, inner: usize| -> Vec<u32> {
            (0..outer * n * inner).map(|i| (i / inner % n) as u32).collect()
        };
        let tables: [(Vec<u32>, &str); 11] = [
            (vec![], "One"),
            (vec![NO, NO], "One"),
            (vec![2, 0, 1], "One"),
            (vec![4, NO, 1], "One"),
            (repeated(3, 4, 1), "Repeated"),
            (repeated(1, 4, 3), "Repeated"),
            (repeated(2, 3, 5), "Repeated"),
            (vec![0, 0, 0], "Repeated"),
            (vec![0, 0, 1], "Many"),
            (vec![1, 1, 0, 0], "Many"),
            (vec![0, NO, 0, 2, 2, NO], "Many"),
        ];
        for (places, kind) in tables {
            let table = Table::from(places.clone());
            assert!(format!("{:?}", table.readers()).starts_with(kind), "{places:?}: {:?}", table.readers());
            for j in 0..7u32 {
                let want: Vec<usize> = (0..places.len()).filter(|&i| places[i] == j).collect();
                assert_eq!(table.readers().at(j as usize).collect::<Vec<_>>(), want, "{j} in {places:?}");
            }
        }
    }
}
