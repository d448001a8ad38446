//! The canonical form (RFC 8785, JSON Canonicalization Scheme) and the digest over it.
//!
//! The digest tells an accidental or careless change from the original. It is no signature: who changes
//! a document can also compute its digest anew; `certify verify` derives the figures again.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Certificate;
use crate::import::tensor::hex;

/// The canonical form of a document that holds finite numbers and texts only.
pub fn canonical(document: &impl Serialize) -> Vec<u8> {
    // Numbers are finite by type and keys are strings, so that serialising cannot fail.
    serde_json_canonicalizer::to_vec(document).expect("a document is always serialisable")
}

/// SHA-256 of the canonical form of a JSON object without its top-level key `digest`.
pub fn digest(document: &impl Serialize) -> String {
    let mut value = serde_json::to_value(document).expect("a document is always serialisable");
    if let Value::Object(fields) = &mut value {
        fields.remove("digest");
    }
    hex(&Sha256::digest(canonical(&value)))
}

impl Certificate {
    /// Sets `digest`; anything changed afterwards contradicts it.
    pub fn seal(&mut self) {
        self.digest = Some(digest(self));
    }

    /// Is the digest that of this document?
    pub fn sealed(&self) -> bool {
        self.digest.as_deref() == Some(&digest(self))
    }

    /// The document in canonical form: one line without final newline.
    pub fn to_canonical(&self) -> Vec<u8> {
        canonical(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::{Exact, Num, example};

    #[test]
    fn canonical_json_is_that_of_rfc_8785() {
        // The example of RFC 8785, 3.2.2 and 3.2.3, without the characters that need quoting here.
        let v: Value = serde_json::from_str(
            r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"literals":[null,true,false],"a":{"€":1,"$":-0.0}}"#,
        )
        .unwrap();
        assert_eq!(
            String::from_utf8(canonical(&v)).unwrap(),
            r#"{"a":{"$":0,"€":1},"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}"#
        );
    }

    #[test]
    fn the_canonical_form_is_the_same_certificate() {
        let mut c = example::not_certified();
        c.loss[0].runtime = Exact(Num::of(-0.0));
        c.seal();
        let text = String::from_utf8(c.to_canonical()).unwrap();
        let back = Certificate::from_json(&text).unwrap();
        assert_eq!(back, c);
        assert!(back.sealed());
        assert_eq!(back.to_json(), c.to_json());
        assert_eq!(back.to_canonical(), c.to_canonical());
    }

    #[test]
    fn any_change_breaks_the_seal() {
        let mut c = example::certified();
        assert!(!c.sealed(), "a draft isn't sealed");
        c.seal();
        assert!(c.sealed());
        let mut changed = c.clone();
        changed.notes.push("more".into());
        assert!(!changed.sealed());
        let mut changed = c.clone();
        changed.gradients.swap(0, 1);
        assert!(!changed.sealed());
    }
}
