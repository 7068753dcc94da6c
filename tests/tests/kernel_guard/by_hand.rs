//! `heartbeat unfence`.
