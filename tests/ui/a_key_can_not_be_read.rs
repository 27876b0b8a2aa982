// E0616
fn read(key: rxgate::auth::Key) {
    let _ = key.mac;
}

fn main() {}
