//! `fss` passes the conformance suite over every ring.

use subrosa_mpc::fss::Fss;
use subrosa_mpc::protocol_conformance;
use subrosa_ring::{Z32, Z48, Z64};

protocol_conformance!(z32, Fss<Z32>);
protocol_conformance!(z48, Fss<Z48>);
protocol_conformance!(z64, Fss<Z64>);

#[test]
fn the_fused_gate_holds_at_the_edges_of_its_range() {
    subrosa_mpc::conformance::truncated_relu_at_its_edges::<Fss<Z32>>();
    subrosa_mpc::conformance::truncated_relu_at_its_edges::<Fss<Z48>>();
    subrosa_mpc::conformance::truncated_relu_at_its_edges::<Fss<Z64>>();
}

/// More correction words than are kept in memory, and more than one message of them.
#[test]
fn keys_wait_in_a_file() {
    subrosa_mpc::conformance::relu_of_many::<Fss<Z32>>(1 << 16);
}
