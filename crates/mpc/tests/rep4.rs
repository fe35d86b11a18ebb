//! `rep4` passes the conformance suite over every ring, and a party that deviates at any message
//! changes no result.

use subrosa_mpc::rep4::Rep4;
use subrosa_mpc::{protocol_cheater, protocol_conformance};
use subrosa_ring::{Z32, Z48, Z64};

protocol_conformance!(z32, Rep4<Z32>);
protocol_conformance!(z48, Rep4<Z48>);
protocol_conformance!(z64, Rep4<Z64>);
protocol_cheater!(cheated_z32, Rep4<Z32>);
