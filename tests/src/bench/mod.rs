//! What the benchmark of the whole (`bench-fleet`) is made of. Run by hand; the figures go into the notes of a
//! release, never into a test, because they say something only beside another tool in the same run.

pub mod artifact;
pub mod poller;
