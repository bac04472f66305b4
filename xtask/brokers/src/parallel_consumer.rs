//! `cargo xtask brokers parallel-consumer`: another program as a member of a group, for the test
//! that lets it take the group over. What it does stands in `java/ParallelConsumerMember.java`,
//! which Java compiles when it starts.

use std::process::Stdio;

use super::{Folder, install};
use xtask_base::process::{Result, command, root};

#[derive(clap::Args)]
pub struct Args {
    /// Addresses of the brokers
    servers: String,
    /// The group it joins
    group: String,
    /// The topic it reads
    topic: String,
    /// The keys whose messages it fails, with commas between
    failing: String,
}

const PROGRAM: &str = "xtask/brokers/src/java/ParallelConsumerMember.java";

pub(super) fn run(folder: &Folder, args: &Args) -> Result<()> {
    let java = install::parallel_consumer(folder)?;
    let mut member = command(&java.program);
    member.arg("-cp").arg(java.libraries.join("*")).arg(root().join(PROGRAM));
    member.args([&args.servers, &args.group, &args.topic, &args.failing]);
    let status = member.stdin(Stdio::inherit()).status()?;
    if status.success() { Ok(()) } else { Err(format!("the member: {status}").into()) }
}
