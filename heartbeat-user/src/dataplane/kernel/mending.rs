//! What belongs in this kernel stays there: what somebody has removed by hand, pins and programs, is put back, and told.

use super::{Interface, Kernel};
use crate::{
    dataplane::{
        ProgramSettings,
        bpf_link::{self, Object},
        mended::Mended,
        pins::{PINNED, link_path, mount_bpffs},
        program,
    },
    system::netlink,
};
use anyhow::{Context as _, Result};
use aya::{maps::MapInfo, programs::ProgramInfo};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The maps and programs that are pinned in a folder.
pub(super) fn pinned(settings: &ProgramSettings, folder: &Path) -> Result<Vec<(PathBuf, Object)>> {
    let mut pinned = Vec::new();
    for name in PINNED {
        let path = folder.join(name);
        let id = MapInfo::from_pin(&path).with_context(|| format!("the pinned map {name}"))?.id();
        pinned.push((path, Object::Map(id)));
    }
    for path in program::pins(settings, folder) {
        // Those beside the XDP program are not to be had everywhere.
        if let Ok(info) = ProgramInfo::from_pin(&path) {
            pinned.push((path, Object::Program(info.id())));
        }
    }
    Ok(pinned)
}

impl Kernel {
    /// Has these interfaces keep silent about what is guarded, and no others, as they are now, has the kernel note it when the
    /// agent dies, and puts back what somebody has removed. To be called once all channels are attached, and at any time again:
    /// what is as it should be is not touched.
    pub fn keep_silent_on(&mut self, interfaces: &BTreeSet<&str>) -> Mended {
        let mut mended = Mended::default();
        if let Err(error) = self.pin_again(&mut mended) {
            let folder = self.folder.display();
            mended
                .troubles
                .push(format!("{folder}: {error:#}: the next life of this agent will not find what was there"));
        }
        let detached = self.interfaces.iter().filter(|(name, interface)| is_detached(name, interface));
        mended.detached = detached.map(|(name, interface)| (name.clone(), interface.channels)).collect();
        let by_xdp: BTreeSet<_> = self.interfaces.keys().map(String::as_str).collect();
        self.silence.keep_on(&self.folder, interfaces, &by_xdp, &mut mended);
        mended
    }

    /// All that is pinned but what the silence has: without its pin, it would end with the agent.
    fn pin_again(&self, mended: &mut Mended) -> Result<()> {
        let links = self.interfaces.iter().filter_map(|(name, interface)| {
            let id = interface.link.info().ok()?.id();
            Some((link_path(&self.folder, name), Object::Link(id)))
        });
        let gone: Vec<_> = self.pinned.iter().cloned().chain(links).filter(|(path, _)| !path.exists()).collect();
        if gone.is_empty() {
            return Ok(());
        }
        mount_bpffs()?;
        fs::create_dir_all(&self.folder).context("making it")?;
        for (path, object) in gone {
            object.pin(&path).with_context(|| format!("pinning {} again", path.display()))?;
            mended.restored.push(path.display().to_string());
        }
        Ok(())
    }
}

/// Whether somebody has detached the program from an interface that is still there.
fn is_detached(name: &str, interface: &Interface) -> bool {
    let joins = interface.link.info().ok().and_then(|info| bpf_link::interface_of(info.id()).ok());
    joins == Some(0) && netlink::index_of(name).ok().flatten() == Some(interface.ifindex)
}
