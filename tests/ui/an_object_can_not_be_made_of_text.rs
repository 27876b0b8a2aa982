// E0423
fn main() {
    let _ = rxgate::event::Object(Vec::new());
}
