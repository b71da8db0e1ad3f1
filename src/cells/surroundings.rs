//! What a configuration takes from the process around it, replaceable in tests.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

type Variables = dyn Fn(&str) -> Option<OsString> + Send + Sync;
type HostName = dyn Fn() -> io::Result<OsString> + Send + Sync;

/// Variables, the host's name, and where the configuration is when nothing says so.
#[derive(Clone)]
pub(super) struct Surroundings {
    variables: Arc<Variables>,
    host_name: Arc<HostName>,
    pub(super) default_file: PathBuf,
}

impl Surroundings {
    /// Those of this process.
    pub(super) fn real() -> Self {
        Surroundings {
            variables: Arc::new(|name| std::env::var_os(name)),
            host_name: Arc::new(hostname::get),
            default_file: "/etc/zookeeper/zk_client.json".into(),
        }
    }

    pub(super) fn variable(&self, name: &str) -> Option<OsString> {
        (self.variables)(name)
    }

    pub(super) fn host_name(&self) -> io::Result<OsString> {
        (self.host_name)()
    }

    /// A process with these variables and this host name, and no file in the default place.
    #[cfg(test)]
    pub(super) fn fake(host: &str, variables: &[(&str, &str)]) -> Self {
        let variables: std::collections::HashMap<String, String> =
            variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let host = host.to_string();
        Surroundings {
            variables: Arc::new(move |name| variables.get(name).map(OsString::from)),
            host_name: Arc::new(move || Ok(OsString::from(&host))),
            default_file: "/nonexistent/zk_client.json".into(),
        }
    }
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surroundings")
    }
}
