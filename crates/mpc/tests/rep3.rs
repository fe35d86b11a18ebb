//! `rep3` passes the conformance suite over every ring.

use subrosa_mpc::protocol_conformance;
use subrosa_mpc::rep3::Rep3;
use subrosa_ring::{Z32, Z48, Z64};

protocol_conformance!(z32, Rep3<Z32>);
protocol_conformance!(z48, Rep3<Z48>);
protocol_conformance!(z64, Rep3<Z64>);
