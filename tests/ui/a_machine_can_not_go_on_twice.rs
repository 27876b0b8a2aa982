// E0382
use rxgate::effect::Done;
use rxgate::machine::{Gateway, Machine};
use rxgate::time::Timestamp;

fn twice(machine: Machine, gateway: &Gateway) {
    let _ = machine.resume(gateway, &Done::Failed, Timestamp(0));
    let _ = machine.resume(gateway, &Done::Failed, Timestamp(0));
}

fn main() {}
