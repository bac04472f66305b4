//! buslane-lanes
