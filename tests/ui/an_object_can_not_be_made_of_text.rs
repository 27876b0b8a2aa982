// E0624
fn main() {
    let _ = rxgate::event::Document::read("{}");
}
