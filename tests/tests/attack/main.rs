//! Signed releases against those who would get round them, and the ways for those who must: real programs, a real
//! agent, keys on an operator's machine. Whatever is refused leaves the host as it was, to the byte.

#[allow(dead_code)] // each of the two programs uses its part of it
#[path = "../bad_input/desk.rs"]
mod desk;
#[allow(dead_code)] // each of the two programs uses its part of it
#[path = "../bad_input/site.rs"]
mod site;

mod bundle;
mod glass;
mod keys;
mod local;
mod middle;
mod signed;
mod stolen;
mod stop;
