//! What a child process must be given to reach the same cells.

use super::Cells;
use super::builder::FILE_VARIABLE;

/// Arguments and variables for a child that is to reach the same cells.
///
/// They carry what was set and not what was found: the child inherits the environment. Cells that
/// were given as text or one by one cannot be handed on this way; write them to a file.
///
/// ```
/// use zkcells::Cells;
/// let cells = Cells::builder().cell("nyc", "db1:2181").local_cell("nyc").build()?;
/// let child = cells.subprocess();
/// assert_eq!(child.args, ["--local-cell", "nyc"]);
/// let mut command = std::process::Command::new("zk");
/// command.args(&child.args).envs(child.env).arg("cells");
/// # Ok::<(), zkcells::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subprocess {
    /// Options of the command `zk`.
    pub args: Vec<String>,
    /// Variables to set.
    pub env: Vec<(String, String)>,
}

impl Cells {
    /// What a child process must be given to reach the same cells.
    #[doc(alias = "GetZkSubprocessFlags")]
    pub fn subprocess(&self) -> Subprocess {
        let settings = self.settings();
        let timeout =
            settings.session_timeout.map(|wait| humantime::format_duration(wait).to_string());
        let options = [
            ("--local-cell", settings.local_cell.clone()),
            ("--global-addrs", settings.global_addrs.clone()),
            ("--session-timeout", timeout),
        ];
        let mut child = Subprocess::default();
        for (option, value) in options {
            if let Some(value) = value {
                child.args.extend([option.to_string(), value]);
            }
        }
        if let Some(file) = settings.explicit_file() {
            child.env.push((FILE_VARIABLE.into(), file.to_string_lossy().into_owned()));
        }
        child
    }
}
