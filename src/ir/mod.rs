//! RevGraph, the typed reverse-mode intermediate representation.
//!
//! Leaves Γ have the ids 0..|Γ|, nodes ss the ids |Γ|..|Γ|+|ss|; a node reads smaller ids only.
//! The graph is immutable once built; passes keep their results in side tables indexed by
//! [`ValueId`].

mod array;
mod graph;
mod index;
pub mod walk;

pub use array::{Array, Entries, Tensor, elements};
pub use graph::{Attribute, Graph, GraphBuilder, Leaf, LeafKind, Node, Origin, Shaped, ValueId};
pub use index::{Index, Readers, Table};
