//! Settings from environment variables: `DUALSTREAM_LOG_TOPIC` is `log.topic`.

use super::file::Assignment;
use super::problem::{Origin, Problem, suggestion};
use super::table::{self, ABSENT, FIELDS, Field, KAFKA, NAMESPACES};
use super::value::Given;
use std::ffi::OsString;

const PREFIX: &str = "DUALSTREAM_";

/// Variables that are not settings but read elsewhere: by the command line.
pub const OTHERS: [&str; 4] =
    ["DUALSTREAM_CONFIG", "DUALSTREAM_SERVER", "DUALSTREAM_OUTPUT", "DUALSTREAM_LOG_FORMAT"];

/// What an environment says.
#[derive(Debug, Default)]
pub struct Environment {
    /// The settings in it, by variable.
    pub assignments: Vec<Assignment>,
    /// Variables that cannot be read.
    pub problems: Vec<Problem>,
    /// Variables that begin with `DUALSTREAM_` and mean nothing.
    pub warnings: Vec<Problem>,
}

impl Environment {
    /// Reads variables, in any order.
    pub fn read(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Environment {
        let mut environment = Environment::default();
        let mut ours: Vec<(String, OsString)> = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect();
        ours.retain(|(name, _)| name.starts_with(PREFIX) && !OTHERS.contains(&name.as_str()));
        ours.sort();
        for (name, value) in ours {
            environment.take(name, value);
        }
        environment
    }

    fn take(&mut self, name: String, value: OsString) {
        let origin = Origin::Environment(name.clone());
        match (path(&name), value.into_string()) {
            (None, _) => {
                let known: Vec<String> = known().collect();
                let nearest = suggestion(&name, known.iter().map(String::as_str));
                self.warnings.push(Problem::new(origin, format!("no setting has this name{nearest}")));
            }
            (Some(path), Ok(text)) => {
                self.assignments.push(Assignment { path, given: Some(Given::text(text)), origin });
            }
            (Some(path), Err(_)) => {
                self.problems.push(Problem::new(origin, format!("the value of `{path}` is not UTF-8")));
            }
        }
    }
}

fn once() -> impl Iterator<Item = &'static Field> {
    FIELDS.iter().filter(|field| !field.path.contains('*'))
}

fn known() -> impl Iterator<Item = String> {
    once().map(Field::variable).chain(OTHERS.map(String::from))
}

/// The setting a variable means, if any.
fn path(name: &str) -> Option<String> {
    let absent = ABSENT.iter().map(|(path, _)| *path).filter(|path| !path.contains('*'));
    let mut paths = once().map(|field| field.path).chain(absent);
    paths
        .find(|path| table::variable(path) == name)
        .map(String::from)
        .or_else(|| of_namespace(name))
        .or_else(|| of_kafka(name))
}

/// `DUALSTREAM_KAFKA_SASL_PASSWORD` is `kafka.sasl.password`: properties of the Kafka client are words with dots.
fn of_kafka(name: &str) -> Option<String> {
    let rest = name.strip_prefix(&format!("{}_", table::variable(KAFKA)))?;
    (!rest.is_empty()).then(|| format!("{KAFKA}.{}", rest.to_lowercase().replace('_', ".")))
}

/// `DUALSTREAM_NAMESPACES_CHAT_SLOW_CLIENT` is `namespaces.chat.slow_client`. A namespace with a `-` in its name cannot
/// be said this way.
fn of_namespace(name: &str) -> Option<String> {
    let rest = name.strip_prefix(&format!("{}_", table::variable(NAMESPACES)))?.to_lowercase();
    let absent = ABSENT.iter().map(|(path, _)| *path);
    let paths = FIELDS.iter().map(|field| field.path).chain(absent);
    let keys = paths.filter_map(|path| path.strip_prefix("namespaces.*."));
    let named = keys.filter_map(|key| Some((rest.strip_suffix(key)?.strip_suffix('_')?, key)));
    named.filter(|(name, _)| !name.is_empty()).map(|(name, key)| format!("{NAMESPACES}.{name}.{key}")).next()
}
