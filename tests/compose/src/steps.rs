//! What is tested, one file for each part of it.

pub(crate) mod alerts;
pub(crate) mod cluster;
pub(crate) mod crashes;
pub(crate) mod dashboards;
pub(crate) mod definitions;
pub(crate) mod gone;
pub(crate) mod order;
pub(crate) mod partitions;
pub(crate) mod privileges;
pub(crate) mod replicas;
pub(crate) mod sagas;
pub(crate) mod start;
