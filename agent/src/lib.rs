//! Makes one host run what the controller says it should.

pub mod host;
