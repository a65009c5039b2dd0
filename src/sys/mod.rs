//! The only unsafe code: thin, checked wrappers around system calls that std and nix do not offer safely.
//!
//! Each block says why it is sound. Everything here may be used by every room.

#![allow(unsafe_code)]

pub mod host;
pub mod inherited;
pub mod pass;
pub mod process;
pub mod shadow;
pub mod terminal;
pub mod trusted;
