// E0308
use rxgate::auth::RawBody;
use rxgate::provider::{Context, Provider};

fn read(body: RawBody<'_>, context: Context<'_>) {
    let _ = Provider::Osigu.read(&body, context);
}

fn main() {}
