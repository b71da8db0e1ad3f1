//! The command `zk`.
fn main() {}
