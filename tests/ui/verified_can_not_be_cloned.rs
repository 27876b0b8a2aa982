// E0599
use rxgate::auth::Verified;

fn twice<'a>(verified: Verified<'a>) -> (Verified<'a>, Verified<'a>) {
    (verified.clone(), verified)
}

fn main() {}
