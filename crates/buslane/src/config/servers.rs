//! What a `nats://` URL says: servers, and perhaps a login.

use buslane_nats::Login;

/// The servers as `HOST:PORT,HOST:PORT`, and the login of the first that has one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Servers {
    pub(super) hosts: String,
    pub(super) login: Option<Login>,
}

const RULE: &str = "must be nats://[USER:PASSWORD@]HOST[:PORT],HOST[:PORT]";
const PORT: u16 = 4222;

/// Reads what stands behind the scheme; the error is the rule.
pub(super) fn read(text: &str) -> Result<Servers, &'static str> {
    // A password may hold any character, so what is before the last `@` is the login.
    let (login, hosts) = match text.split_once('@') {
        None => (None, text.to_owned()),
        Some(_) => with_login(text)?,
    };
    let hosts: Result<Vec<String>, _> = hosts.split(',').map(host).collect();
    Ok(Servers { hosts: hosts?.join(","), login })
}

/// Every server has the same login, or none but the first.
fn with_login(text: &str) -> Result<(Option<Login>, String), &'static str> {
    let (mut login, mut hosts) = (None, Vec::new());
    for server in text.split(',') {
        let server = server.strip_prefix("nats://").unwrap_or(server);
        match server.rsplit_once('@') {
            None => hosts.push(server.to_owned()),
            Some((who, host)) => {
                let found = match who.split_once(':') {
                    Some((user, password)) => Login::user(plain(user)?, plain(password)?),
                    None => Login::token(plain(who)?),
                };
                if login.as_ref().is_some_and(|before| *before != found) {
                    return Err("must have the same login for every server");
                }
                login = Some(found);
                hosts.push(host.to_owned());
            }
        }
    }
    Ok((login, hosts.join(",")))
}

fn host(server: &str) -> Result<String, &'static str> {
    let server = server.strip_prefix("nats://").unwrap_or(server);
    if server.is_empty() || server.contains(['/', '?', '#', '@']) {
        return Err(RULE);
    }
    match server.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((name, port)) if !port.contains(']') => match port.parse::<u16>() {
            Ok(1..) if !name.is_empty() => Ok(server.to_owned()),
            _ => Err(RULE),
        },
        _ => Ok(format!("{server}:{PORT}")),
    }
}

/// Undoes `%40` and the like.
fn plain(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let digits = rest.get(at + 1..at + 3).ok_or(RULE)?;
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| RULE)?);
        rest = &rest[at + 3..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    match String::from_utf8(bytes) {
        Ok(text) if !text.is_empty() => Ok(text),
        _ => Err(RULE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n3_servers_and_logins_are_read_from_the_url() {
        let hosts = |text: &str| read(text).map(|servers| servers.hosts);
        assert_eq!(
            hosts("a,b:1,nats://c:2,[::1],[::1]:3").unwrap(),
            "a:4222,b:1,c:2,[::1]:4222,[::1]:3"
        );
        let user = read("me:p%40ss@a,b").unwrap();
        assert_eq!(user.login, Some(Login::user("me", "p@ss")));
        assert_eq!(user.hosts, "a:4222,b:4222");
        assert_eq!(read("secret@a,nats://secret@b:9").unwrap().login, Some(Login::token("secret")));
        for bad in [
            "",
            "a,,b",
            "a:0",
            "a:x",
            ":1",
            "a/b",
            "a?token=x",
            "me:1@a,you:1@b",
            "me:%zz@a",
            ":@a",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
