//! Where the kernel's BPF file system is, and whether what is pinned there stays.

use std::{fs, os::unix::fs::MetadataExt as _};

/// Where the BPF file system belongs.
pub const BPFFS: &str = "/sys/fs/bpf";

/// Why what is pinned is gone with the last process that sees it, where that is so: as in the mount namespace that `ip netns exec`
/// makes for each command. The programs are gone then as well, and a dead agent's kernel can neither tell of its death nor keep silent.
#[must_use]
pub fn passes() -> Option<String> {
    let device = |path: &str| fs::metadata(path).ok().map(|found| found.dev());
    let (here, first) = (device(BPFFS)?, device(&format!("/proc/1/root{BPFFS}"))?);
    (here != first).then(|| {
        format!(
            "{BPFFS} is not that of this host's first process, as where `ip netns exec` starts an agent: what is pinned there is gone with the last \
             process here, so if the agent dies, its kernel neither tells the peer nor falls silent; right would be to start it by `nsenter \
             --net=/run/netns/NAME`, which leaves the mounts as they are"
        )
    })
}
