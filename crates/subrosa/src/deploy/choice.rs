//! Which dealing of a model's weights a session is on.
//!
//! Each party numbers the dealings that it keeps of a name, and says of each which one it is. No party is
//! believed for the others: what a number stands for is what all of them call by it.

use super::control::Held;
use crate::{Error, Result};

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// The newest dealing that all parties hold.
    Newest,
    /// The one that every party calls this.
    Version(u32),
    /// This one, whatever it is called.
    Dealing([u8; 32]),
}

impl From<Option<u32>> for Which {
    fn from(version: Option<u32>) -> Self {
        version.map_or(Self::Newest, Self::Version)
    }
}

/// A dealing that all parties say they hold.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) sharing: [u8; 32],
    /// What each party calls it.
    pub(super) versions: Vec<u32>,
}

/// Chooses of what the parties (their names, in their order) say they hold under `name`.
///
/// **Errors:** [`Error::Input`] naming a party that does not hold it; [`Error::Peer`] naming two that call
/// different dealings by the number that was asked for.
pub(super) fn choose(held: &[(&str, &[Held])], name: &str, which: Which) -> Result<Choice> {
    let wanted = |m: &&Held| {
        m.name == name
            && match which {
                Which::Newest => true,
                Which::Version(version) => m.version == version,
                Which::Dealing(sharing) => m.sharing == sharing,
            }
    };
    let at = |models: &[Held], sharing| models.iter().filter(wanted).find(|m| m.sharing == sharing).map(|m| m.version);
    let everywhere = |m: &Held| {
        let versions = held.iter().map(|(_, models)| at(models, m.sharing)).collect::<Option<Vec<u32>>>()?;
        Some(Choice { sharing: m.sharing, versions })
    };
    let first = held.first().map_or(&[] as &[Held], |(_, models)| *models);
    let common = first.iter().filter(wanted).filter_map(everywhere);
    let newest = common.max_by_key(|choice| choice.versions.first().copied());
    newest.ok_or_else(|| {
        let lacking = held.iter().find(|(_, models)| !models.iter().any(|m| wanted(&m)));
        refusal(name, which, lacking.map(|(party, _)| *party), held)
    })
}

/// Why there is nothing to choose, where the party `lacking` holds nothing of what was asked for, or each holds
/// another.
fn refusal(name: &str, which: Which, lacking: Option<&str>, held: &[(&str, &[Held])]) -> Error {
    let hint = "`subrosa party check` lists what they hold; `subrosa party provision` gives them a model";
    let version = match which {
        Which::Newest => String::new(),
        Which::Version(version) => format!(" version {version}"),
        Which::Dealing(_) => " as it was provisioned".to_owned(),
    };
    match (lacking, which) {
        (Some(party), _) => Error::input(format!("no model '{name}'{version} is held by {party}"), hint),
        (None, Which::Newest | Which::Dealing(_)) => {
            Error::input(format!("no model '{name}'{version} is held by all parties"), hint)
        }
        (None, Which::Version(_)) => {
            let odd = differing(name, which, held);
            let message = format!(
                "{odd} call different dealings '{name}'{version}, as after a provisioning that failed between, or one \
                 of them does not say what it holds; provision the model under a new name"
            );
            Error::Peer { message }
        }
    }
}

/// The first party and one that has no dealing of the number in common with it.
fn differing(name: &str, which: Which, held: &[(&str, &[Held])]) -> String {
    let of = |models: &[Held]| -> Vec<[u8; 32]> {
        let wanted = |m: &&Held| m.name == name && which == Which::Version(m.version);
        models.iter().filter(wanted).map(|m| m.sharing).collect()
    };
    let Some(((first, models), others)) = held.split_first() else { return "the parties".to_owned() };
    let known = of(models);
    let odd = others.iter().find(|(_, models)| !of(models).iter().any(|sharing| known.contains(sharing)));
    odd.map_or_else(|| "the parties".to_owned(), |(odd, _)| format!("{first} and {odd}"))
}

#[cfg(test)]
pub(super) mod tests;
