//! `rep3-malicious` passes the conformance suite over every ring, and a party that deviates at any
//! message changes no result.

use subrosa_mpc::rep3_malicious::Rep3Malicious;
use subrosa_mpc::{protocol_cheater, protocol_conformance};
use subrosa_ring::{Z32, Z48, Z64};

protocol_conformance!(z32, Rep3Malicious<Z32>);
protocol_conformance!(z48, Rep3Malicious<Z48>);
protocol_conformance!(z64, Rep3Malicious<Z64>);
protocol_cheater!(cheated_z32, Rep3Malicious<Z32>);
