//! The programs of the brokers: fetched once from the registries by their ordinary clients, in the
//! version named here, and kept below the target folder. `down` leaves them, `cargo clean` removes
//! them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::state::{self, Folder};
use xtask_base::process::{Result, command, is_installed, write_file};
use xtask_base::tools::system_package;

pub(super) const KAFKA: &str = "4.3.1";
pub(super) const NATS: &str = "2.15.2";
/// Debian 12's, and the oldest that is tested.
pub(super) const OLDEST_NATS: &str = "2.9.10";
const LOG4J: &str = "2.25.1";
/// The last release of it.
const PARALLEL_CONSUMER: &str = "0.5.3.3";
/// Its log goes nowhere: a test reads what it says.
const SLF4J: &str = "2.0.17";
/// Kafka 4 does not start on an older one.
const OLDEST_JAVA: u32 = 17;
/// From this release on, Go fetches by itself the newer one that nats-server asks for.
const OLDEST_GO: (u32, u32) = (1, 21);

/// Java and the jars that it needs.
pub(super) struct Java {
    pub(super) program: PathBuf,
    pub(super) libraries: PathBuf,
}

/// Java and the jars of Kafka. The second call downloads nothing.
pub(super) fn kafka(folder: &Folder) -> Result<Java> {
    let jars = [
        ("org.apache.kafka", "kafka_2.13", KAFKA),
        ("org.apache.logging.log4j", "log4j-slf4j-impl", LOG4J),
    ];
    Ok(Java {
        program: java()?,
        libraries: jars_of(folder, &format!("kafka-{KAFKA}"), "44 MB", &jars)?,
    })
}

/// Java with its compiler, and the jars of Confluent's Parallel Consumer.
pub(super) fn parallel_consumer(folder: &Folder) -> Result<Java> {
    let program = java()?;
    compiler(&program)?;
    let jars = [
        ("io.confluent.parallelconsumer", "parallel-consumer-core", PARALLEL_CONSUMER),
        ("org.slf4j", "slf4j-nop", SLF4J),
    ];
    let name = format!("parallel-consumer-{PARALLEL_CONSUMER}");
    Ok(Java { program, libraries: jars_of(folder, &name, "20 MB", &jars)? })
}

/// The folder with these jars and all that they need, fetched by Maven when it is not there.
fn jars_of(
    folder: &Folder,
    name: &str,
    size: &str,
    jars: &[(&str, &str, &str)],
) -> Result<PathBuf> {
    let _lock = state::lock(folder.path(), "programs")?;
    let home = folder.programs().join(name);
    if !home.exists() {
        if !is_installed("mvn") {
            system_package("Maven", "mvn", &["maven"])?;
        }
        eprintln!("{name}: fetching the jars once, {size}");
        let new = folder.programs().join(format!("{name}.new"));
        write_file(&new.join("pom.xml"), &pom(jars))?;
        let mut output = std::ffi::OsString::from("-DoutputDirectory=");
        output.push(new.join("libs"));
        let mut maven = command("mvn");
        maven.args(["-q", "-B", "-f"]).arg(new.join("pom.xml"));
        maven.args(["dependency:copy-dependencies", "-DincludeScope=runtime"]).arg(output);
        run_aside(&mut maven, &format!("Maven cannot fetch {name}: is its repository in reach?"))?;
        // Renamed when complete: a download that was broken off is not taken for a whole one.
        std::fs::rename(&new, &home)?;
    }
    Ok(home.join("libs"))
}

/// The program nats-server in this version: the installed one when it has it, else one built by Go.
pub(super) fn nats(folder: &Folder, version: &str) -> Result<PathBuf> {
    let asked = |program: &str| output_of(command(program).arg("--version"));
    if asked("nats-server").is_some_and(|text| text.trim_end().ends_with(&format!("v{version}"))) {
        return Ok("nats-server".into());
    }
    let _lock = state::lock(folder.path(), "programs")?;
    let home = folder.programs().join(format!("nats-server-{version}"));
    let program = home.join(format!("nats-server{}", std::env::consts::EXE_SUFFIX));
    if !program.exists() {
        go()?;
        eprintln!("nats-server {version}: building it once, which takes about a minute");
        let module = format!("github.com/nats-io/nats-server/v2@v{version}");
        run_aside(
            command("go").args(["install", &module]).env("GOBIN", &home),
            "Go cannot build nats-server: is its module proxy in reach?",
        )?;
    }
    Ok(program)
}

/// Java of `JAVA_HOME`, else the one on the search path; installed where there is none.
fn java() -> Result<PathBuf> {
    let home = std::env::var_os("JAVA_HOME").filter(|home| !home.is_empty());
    let program = home
        .map_or_else(|| PathBuf::from("java"), |home| Path::new(&home).join("bin").join("java"));
    let version =
        || output_of(command(&program).arg("--version")).and_then(|text| java_version(&text));
    let is_recent = || version().is_some_and(|version| version >= OLDEST_JAVA);
    if is_recent() {
        return Ok(program);
    }
    let what = format!("Java {OLDEST_JAVA} or later");
    system_package(&what, "java", &["openjdk-21-jre-headless", "openjdk-17-jre-headless"])?;
    if is_recent() {
        return Ok(program);
    }
    Err(format!(
        "{} is not {what}, and the one just installed is not found there: set JAVA_HOME",
        program.display()
    )
    .into())
}

/// Java that runs a source file: a runtime alone has no compiler.
fn compiler(java: &Path) -> Result<()> {
    let modules = || output_of(command(java).arg("--list-modules")).unwrap_or_default();
    if modules().contains("jdk.compiler") {
        return Ok(());
    }
    let version = output_of(command(java).arg("--version"))
        .and_then(|text| java_version(&text))
        .unwrap_or(OLDEST_JAVA);
    system_package("Java's compiler", "javac", &[&format!("openjdk-{version}-jdk-headless")])?;
    if modules().contains("jdk.compiler") {
        return Ok(());
    }
    Err(format!("{} still has no compiler: set JAVA_HOME to a JDK", java.display()).into())
}

fn go() -> Result<()> {
    let version = || output_of(command("go").arg("version")).and_then(|text| go_version(&text));
    if version().is_none() {
        system_package("Go", "go", &["golang-go"])?;
    }
    if version().is_some_and(|version| version >= OLDEST_GO) {
        return Ok(());
    }
    let (major, minor) = OLDEST_GO;
    let advice = "install it from https://go.dev/dl, or set NATS_URL to a server of your own, or leave NATS out with `--only kafka`";
    Err(format!("nats-server is built by Go {major}.{minor} or later, which is missing: {advice}")
        .into())
}

/// Runs a command with its output on standard error, because standard output carries the exports.
fn run_aside(command: &mut Command, advice: &str) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.stdout(Stdio::from(std::io::stderr())).status();
    let status = status.map_err(|error| format!("cannot start `{program}`: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{program}`: {status}: {advice}").into()) }
}

fn output_of(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `17` of `openjdk 17.0.15 2025-04-15`.
fn java_version(text: &str) -> Option<u32> {
    leading_numbers(text.split_whitespace().nth(1)?).next()
}

/// `(1, 26)` of `go version go1.26.8 linux/amd64`.
fn go_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = leading_numbers(text.split_whitespace().nth(2)?.strip_prefix("go")?);
    Some((numbers.next()?, numbers.next()?))
}

fn leading_numbers(text: &str) -> impl Iterator<Item = u32> {
    text.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok())
}

fn pom(jars: &[(&str, &str, &str)]) -> String {
    let dependencies: String = jars
        .iter()
        .map(|(group, name, version)| {
            format!(
                "    <dependency><groupId>{group}</groupId><artifactId>{name}</artifactId><version>{version}</version></dependency>\n"
            )
        })
        .collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">
  <modelVersion>4.0.0</modelVersion>
  <groupId>buslane</groupId>
  <artifactId>brokers</artifactId>
  <version>0</version>
  <dependencies>
{dependencies}  </dependencies>
</project>
"
    )
}

#[cfg(test)]
mod tests {
    use super::{go_version, java_version, pom};

    #[test]
    fn versions_are_read_from_what_the_programs_say() {
        assert_eq!(
            java_version("openjdk 17.0.15 2025-04-15\nOpenJDK Runtime Environment"),
            Some(17)
        );
        assert_eq!(java_version("java 25 2025-09-16 LTS\n"), Some(25));
        assert_eq!(java_version("openjdk 26-ea 2026-03-17"), Some(26));
        assert_eq!(java_version("oops"), None);
        assert_eq!(go_version("go version go1.26.8 linux/amd64\n"), Some((1, 26)));
        assert_eq!(go_version("go version go1.19 linux/amd64"), Some((1, 19)));
        assert_eq!(go_version("go version devel +abc"), None);
    }

    #[test]
    fn the_pom_names_what_is_fetched() {
        let pom = pom(&[("a", "one", "1"), ("b", "two", "2.0")]);
        assert!(
            pom.contains("<groupId>b</groupId><artifactId>two</artifactId><version>2.0</version>")
        );
        assert_eq!(pom.matches("<dependency>").count(), 2);
    }
}
