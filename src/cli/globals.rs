//! The flags that every command understands, and the configuration that they lead to.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::{Exit, catalogue};
use crate::config::{self, Config, Problems};

/// Flags beat the environment, which beats the file.
#[derive(Clone, Debug, Args)]
pub struct Globals {
    /// The configuration
    #[arg(
        long,
        global = true,
        env = "RECORD_SYNC_CONFIG",
        value_name = "FILE",
        default_value = "customer_settings.toml"
    )]
    pub config: PathBuf,
    /// The rules, instead of those that the configuration names
    #[arg(long, global = true, env = "RECORD_SYNC_RULES", value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Print no more than what was asked for
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

impl Globals {
    /// Returns the folder where relative paths start.
    pub fn base_dir(&self) -> &Path {
        match self.config.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        }
    }

    /// Returns what answers for the environment: flags first. `flags` are a command's own, each
    /// under the variable of the same setting, such as `RECORD_SYNC_LISTEN`.
    pub fn environment(
        &self,
        flags: &[(&'static str, String)],
    ) -> impl Fn(&str) -> Option<String> + Send + Sync + use<> {
        let mut given: Vec<(&'static str, String)> = flags.to_vec();
        if let Some(rules) = &self.rules {
            given.push(("RECORD_SYNC_RULES", rules.to_string_lossy().into_owned()));
        }
        move |name| {
            let flag = given.iter().find(|(variable, _)| *variable == name);
            flag.map(|(_, value)| value.clone()).or_else(|| config::process_env(name))
        }
    }

    /// Loads the configuration; prints what is wrong with it.
    pub fn load(&self, flags: &[(&'static str, String)]) -> Result<Config, Exit> {
        let environment = self.environment(flags);
        config::load_file(&self.config, &environment, &catalogue()).map_err(|problems| {
            print_problems(&problems);
            Exit::CouldNotRun
        })
    }
}

/// Prints problems on standard error: with the lines they stand in on a terminal, else one a line.
pub(super) fn print_problems(problems: &Problems) {
    let text = if std::io::stderr().is_terminal() { problems.pretty() } else { problems.to_string() };
    let _ = writeln!(anstream::stderr(), "{text}");
}
