//! `beaver` passes the conformance suite: with two parties over every ring, with three to
//! five over one each.

use subrosa_mpc::beaver::{Beaver2, Beaver3, Beaver4, Beaver5};
use subrosa_mpc::protocol_conformance;
use subrosa_ring::{Z32, Z48, Z64};

protocol_conformance!(two_z32, Beaver2<Z32>);
protocol_conformance!(two_z48, Beaver2<Z48>);
protocol_conformance!(two_z64, Beaver2<Z64>);
protocol_conformance!(three_z32, Beaver3<Z32>);
protocol_conformance!(four_z64, Beaver4<Z64>);
protocol_conformance!(five_z32, Beaver5<Z32>);
