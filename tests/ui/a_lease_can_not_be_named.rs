// E0603
use rxgate::machine::Lease;

fn main() {}
