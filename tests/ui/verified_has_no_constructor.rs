// E0624
use rxgate::auth::{Proof, RawBody, Verified};

fn forge(proof: Proof) {
    let _ = Verified::new(RawBody::new(b"{}"), proof);
}

fn main() {}
