// E0451
use rxgate::auth::{Proof, Verified};

fn forge(proof: Proof) {
    let _ = Verified { body: b"{}", proof };
}

fn main() {}
