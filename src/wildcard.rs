//! Paths with wildcards: what they mean, and the nodes that they name.
//!
//! A [`Pattern`] is an absolute path whose components may hold wildcards in the syntax of Go's
//! `path.Match`, and alternatives in braces:
//!
//! | written | matches |
//! |---|---|
//! | `*` | any run of characters, also none |
//! | `?` | one character |
//! | `[a-z]`, `[^a]` | one character in the class, or outside of it |
//! | `\*` | the character itself |
//! | `{a,b*}` | what one of the alternatives matches |
//!
//! A wildcard never crosses a `/`. [`resolve`] finds the nodes; a wildcard in the position of the
//! cell ranges over the known cells.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), zkcells::Error> {
//! use zkcells::{MemoryConn, Mode, tree, wildcard};
//! let conn = MemoryConn::new();
//! for name in ["/vt/nyc-2", "/vt/nyc-1", "/vt/lax-1"] {
//!     tree::create_all(&conn, name, "", Mode::Persistent).await?;
//! }
//! let found = wildcard::resolve(&conn, ["/vt/nyc-*"]).await?;
//! assert_eq!(found.paths, ["/vt/nyc-1", "/vt/nyc-2"]);
//! assert!(found.failed.is_empty());
//! # Ok(()) }
//! ```

mod glob_text;
mod pattern;
mod resolve;
mod syntax;

pub use pattern::{IntoPattern, Pattern};
pub use resolve::{Failed, Resolved, resolve};
