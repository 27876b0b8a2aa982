// E0616
use rxgate::auth::RawBody;

fn main() {
    let _ = RawBody::new(b"{}").0;
}
