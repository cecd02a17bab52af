//! The whole way of an artifact in one process: a folder is published, fetched by a host, staged and sealed; and every
//! way in which that can be cut, repeated or meant ill.

mod courier;
mod cut;
mod dock;
mod fetch;
mod hostile;
mod publish;
