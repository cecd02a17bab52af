//! Generated messages in, our own words out, and back.
