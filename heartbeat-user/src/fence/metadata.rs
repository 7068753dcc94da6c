//! What a fence agent says of itself: its parameters and actions (ClusterLabs' FenceAgentAPI, `action=metadata`), and what of
//! its options it will not take.

use crate::config::{AgentOptions, nearest};
use roxmltree::{Document, Node};
use std::fmt::Write as _;

/// A fence agent's description of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    parameters: Vec<Parameter>,
    actions: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Parameter {
    name: String,
    required: bool,
    has_default: bool,
    /// The older name of the same.
    obsoletes: Option<String>,
    kind: Kind,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    Text,
    Number,
    Truth,
    OneOf(Vec<String>),
}

impl Kind {
    /// What is wanted, where the value is something else.
    fn wants(&self, value: &str) -> Option<String> {
        match self {
            Self::Number if value.parse::<i64>().is_err() => Some("a whole number".to_owned()),
            Self::Truth if !is_truth(value) => Some("true or false".to_owned()),
            Self::OneOf(choices) if !choices.iter().any(|choice| choice == value) => {
                Some(format!("one of {}", choices.join(", ")))
            }
            _ => None,
        }
    }
}

/// As the agents' common library reads it.
fn is_truth(value: &str) -> bool {
    ["1", "0", "yes", "no", "on", "off", "true", "false"].contains(&value.to_ascii_lowercase().as_str())
}

fn is_true(value: Option<&str>) -> bool {
    value.is_some_and(|value| ["1", "yes", "on", "true"].contains(&value.to_ascii_lowercase().as_str()))
}

impl Metadata {
    /// Reads what `action=metadata` wrote.
    ///
    /// # Errors
    /// Why it is no description of a fence agent.
    pub fn parse(text: &str) -> Result<Self, String> {
        // What a library said before it is no part of it.
        let begin = text.find("<?xml").or_else(|| text.find("<resource-agent")).unwrap_or(0);
        let document =
            Document::parse(&text[begin..]).map_err(|error| format!("its description of itself is no XML: {error}"))?;
        let root = document.root_element();
        if !root.has_tag_name("resource-agent") {
            return Err(format!("its description of itself is a <{}>, not a <resource-agent>", root.tag_name().name()));
        }
        let all = |tag: &'static str| root.descendants().filter(move |node| node.has_tag_name(tag));
        let name = |node: &Node<'_, '_>| node.attribute("name").map(str::to_owned);
        let actions: Vec<_> = all("action").filter_map(|node| name(&node)).collect();
        if actions.is_empty() {
            return Err("its description of itself names no actions".to_owned());
        }
        Ok(Self { parameters: all("parameter").filter_map(parameter).collect(), actions })
    }

    /// Whether the agent can be told to do that.
    #[must_use]
    pub fn offers(&self, action: &str) -> bool {
        self.actions.iter().any(|offered| offered == action)
    }

    /// What of its options the agent will not take, and what it lacks, in words that say what would be right. Values are not
    /// repeated.
    #[must_use]
    pub fn problems(&self, options: &AgentOptions) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.offers("off") {
            problems.push(format!("it cannot switch anything off: its actions are {}", self.actions.join(", ")));
        }
        for (name, value) in options.iter() {
            match self.parameters.iter().find(|parameter| parameter.name == name) {
                None => problems.push(self.unknown(name)),
                Some(parameter) => {
                    problems.extend(
                        parameter.kind.wants(value).map(|right| format!("option {name}: right would be {right}")),
                    );
                }
            }
        }
        let missing =
            self.parameters.iter().filter(|parameter| parameter.required && !self.is_given(parameter, options));
        let missing: Vec<_> = missing.map(|parameter| parameter.name.as_str()).collect();
        // Of two names of one thing, the newer one is asked for.
        let missing = missing.iter().filter(|name| !missing.iter().any(|other| self.newer(name) == Some(*other)));
        problems.extend(missing.map(|name| format!("option {name} is missing: the agent requires it")));
        problems
    }

    fn unknown(&self, name: &str) -> String {
        let mut problem = format!("option {name}: the agent has none of that name");
        if let Some(near) = nearest(name, self.parameters.iter().map(|parameter| parameter.name.as_str())) {
            let _never_fails = write!(problem, "; did you mean {near}?");
        }
        problem
    }

    fn newer(&self, older: &str) -> Option<&str> {
        let of = self.parameters.iter().find(|parameter| parameter.obsoletes.as_deref() == Some(older));
        of.map(|parameter| parameter.name.as_str())
    }

    /// By this name, by the one that it had before, or by the one that it has now.
    fn is_given(&self, parameter: &Parameter, options: &AgentOptions) -> bool {
        let names = [Some(parameter.name.as_str()), parameter.obsoletes.as_deref(), self.newer(&parameter.name)];
        let by_plug = ["ip", "ipaddr"].contains(&parameter.name.as_str()) && is_true(options.get("port_as_ip"));
        parameter.name == "action"
            || parameter.has_default
            || by_plug
            || names.iter().flatten().any(|name| options.get(name).is_some())
    }
}

fn parameter(node: Node<'_, '_>) -> Option<Parameter> {
    let content = node.children().find(|child| child.has_tag_name("content"));
    let kind = match content.and_then(|content| content.attribute("type")) {
        Some("integer" | "second") => Kind::Number,
        Some("boolean") => Kind::Truth,
        Some("select") => {
            let options = content.into_iter().flat_map(|content| content.children());
            Kind::OneOf(options.filter_map(|option| option.attribute("value").map(str::to_owned)).collect())
        }
        _ => Kind::Text,
    };
    Some(Parameter {
        name: node.attribute("name")?.to_owned(),
        required: node.attribute("required") == Some("1"),
        has_default: content.is_some_and(|content| content.attribute("default").is_some_and(|value| !value.is_empty())),
        obsoletes: node.attribute("obsoletes").map(str::to_owned),
        kind,
    })
}
