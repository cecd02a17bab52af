//! Transcripts of plans.
