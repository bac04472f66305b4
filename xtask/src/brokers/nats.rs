//! Starting nats-server: one node with JetStream and a monitoring port.

use super::group::leader;
use super::hold::Held;
use super::start::{Failure, wait_for, with_new_ports};
use super::state::Kind;
use super::{Folder, install, ports, probe};
use crate::process::Result;

/// Starts a new server and waits until JetStream is ready.
pub(super) fn start(folder: &Folder) -> Result<Held> {
    let program = install::nats(folder)?;
    eprintln!("nats-server {}: starting", install::NATS);
    with_new_ports(|| {
        let mut held = Held::create(folder, Kind::Nats)?;
        let home = held.run.folder.clone();
        let (client, monitor) = match ports::free(2)?[..] {
            [client, monitor] => (client, monitor),
            _ => return Err(Failure::Other("two ports were asked for".into())),
        };
        let log = home.join("broker.log");
        let mut server = leader(&program, &log)?;
        server.args(["-a", "127.0.0.1", "-p", &client.to_string(), "-m", &monitor.to_string(), "-js", "-sd"]);
        held.spawn(server.arg(home.join("data")), &[("client", client), ("monitor", monitor)])?;
        let answers =
            || probe::nats(&format!("127.0.0.1:{client}")) && probe::nats_health(&format!("127.0.0.1:{monitor}"));
        wait_for(&held, 0, &log, answers)?;
        Ok(held)
    })
}
