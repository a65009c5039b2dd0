//! Pure decisions: what the configuration says, who may run as whom, and where.
//!
//! Nothing here opens a file, asks the account database or the cluster; it all runs in unit tests.

pub mod absence;
pub mod cidr;
pub mod config;
pub mod identity;
pub mod names;
pub mod namespace;
pub mod network;
pub mod owner;
pub mod quantity;
pub mod tags;
pub mod token;
pub mod volume;
pub mod wanted;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
