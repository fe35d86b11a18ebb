//! Who plays in a protocol with vouched messages.

use subrosa_core::Claim;

/// What sets one protocol with vouched messages apart from another.
pub trait Crew: Send + 'static {
    /// Name of the protocol, and of its random streams.
    const NAME: &'static str;
    /// Whether a fourth party, the helper, knows all masks and vouches for what is computed of
    /// them. If not, the three parties prove it to each other.
    const HELPED: bool;
    /// The security claim.
    const CLAIM: Claim;
    /// Paper and URL.
    const SOURCE: &'static str;
}
