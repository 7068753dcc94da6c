//! Which of the two controllers a host is.

use super::{Config, ConfigError};
use crate::types::Node;

impl Config {
    /// Which controller this host is: `flag`, where given; otherwise the one whose name is `hostname`, in full or, where
    /// either of the two is a name without a domain, in its first label.
    ///
    /// # Errors
    /// [`ConfigError::UnknownHost`], [`ConfigError::AmbiguousHost`].
    pub fn node_for(&self, flag: Option<Node>, hostname: &str) -> Result<Node, ConfigError> {
        if let Some(node) = flag {
            return Ok(node);
        }
        let [a, b] = &self.hostnames;
        for fits in [same_name, same_first_label] {
            let fits = |name: &Option<String>| name.as_ref().filter(|name| fits(name, hostname)).cloned();
            match (fits(a), fits(b)) {
                (Some(_), None) => return Ok(Node::A),
                (None, Some(_)) => return Ok(Node::B),
                (Some(a), Some(b)) => {
                    return Err(ConfigError::AmbiguousHost { host: hostname.to_owned(), a, b });
                }
                (None, None) => {}
            }
        }
        Err(ConfigError::UnknownHost { host: hostname.to_owned(), a: a.clone(), b: b.clone() })
    }
}

/// The controller that `text` names: `a` or `b`. For clap's `value_parser`.
///
/// # Errors
/// A message that says what would be right.
pub fn parse_node(text: &str) -> Result<Node, String> {
    match text {
        "a" => Ok(Node::A),
        "b" => Ok(Node::B),
        _ => Err("right would be a or b".into()),
    }
}

fn same_name(configured: &str, host: &str) -> bool {
    configured.eq_ignore_ascii_case(host)
}

fn same_first_label(configured: &str, host: &str) -> bool {
    let first = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let one_has_no_domain = !configured.contains('.') || !host.contains('.');
    one_has_no_domain && first(configured) == first(host)
}
