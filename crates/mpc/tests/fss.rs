//! `fss` passes the conformance suite over every ring.

use subrosa_mpc::fss::Fss;
use subrosa_mpc::protocol_conformance;
use subrosa_ring::{Z32, Z48, Z64};

protocol_conformance!(z32, Fss<Z32>);
protocol_conformance!(z48, Fss<Z48>);
protocol_conformance!(z64, Fss<Z64>);
