// E0451
use rxgate::machine::Machine;

fn other(machine: Machine) {
    let _ = Machine { ..machine };
}

fn main() {}
