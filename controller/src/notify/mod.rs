//! Telling people: who is told of what, kept until it is told, at least once.
//!
//! `kind` is what can be told and to whom, `notice` one thing that is told to one receiver, `body`
//! what it says, `rollouts` what a rollout
//! gives to tell, `outbox` where notices are kept, `courier` who carries them, by `hook` (HTTP) and `mail` (SMTP).

mod body;
mod courier;
mod hook;
mod kind;
mod mail;
mod notice;
pub mod outbox;
pub mod rollouts;
#[cfg(test)]
mod tests;

pub use courier::{Courier, Means};
pub use kind::{Address, Kind, Stakeholders, Teller};
pub use mail::{MailServer, MailTls, Mailer};
pub use notice::{AskingGate, FirstFailure, Happening, Notice};
