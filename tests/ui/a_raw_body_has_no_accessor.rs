// E0624
use rxgate::auth::RawBody;

fn main() {
    let _ = RawBody::new(b"{}").bytes();
}
