// E0603
use rxgate::machine::Hold;

fn main() {}
