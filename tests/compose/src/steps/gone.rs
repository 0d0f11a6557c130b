//! `docker compose down -v`.

use anyhow::{Result, ensure};

use crate::{
    stack::{Stack, of_project},
    world::World,
};

/// Nothing of the project is left.
pub(crate) async fn nothing_is_left(world: &mut World) -> Result<()> {
    world.stack.compose(&["down", "-v"]).await?;
    // Who has moved to three nodes has the one's volume still, which only the one's file names.
    if world.stack == Stack::Cluster {
        Stack::Single.compose(&["down", "-v"]).await?;
    }
    for kind in ["container", "volume", "network"] {
        let left = of_project(kind).await?;
        ensure!(left.is_empty(), "{kind}s are left: {left:?}");
    }
    Ok(())
}
