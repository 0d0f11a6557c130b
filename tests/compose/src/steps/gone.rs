//! `docker compose down -v`.

use anyhow::{Result, ensure};

use crate::{stack::of_project, world::World};

/// Nothing of the project is left.
pub(crate) async fn nothing_is_left(world: &mut World) -> Result<()> {
    world.stack.compose(&["down", "-v"]).await?;
    for kind in ["container", "volume", "network"] {
        let left = of_project(kind).await?;
        ensure!(left.is_empty(), "{kind}s are left: {left:?}");
    }
    Ok(())
}
