// E0308
use rxgate::auth::RawBody;

fn main() {
    let _ = rxgate::event::decode(&RawBody::new(b"{}"));
}
