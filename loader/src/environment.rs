//! The kernel that programs are loaded for: its types, configuration and version.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::btf::Btf;
use crate::{KernelConfig, LoadError, limits};

const HOST_BTF: &str = "/sys/kernel/btf/vmlinux";
const HOST_RELEASE: &str = "/proc/sys/kernel/osrelease";
const HOST_POSSIBLE_CPUS: &str = "/sys/devices/system/cpu/possible";

/// The kernel that programs are loaded for.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Types that CO-RE relocations are made for; `None`: an object that has any is refused.
    pub btf: TargetBtf,
    /// Options for `.kconfig`.
    pub kernel_config: Option<Arc<KernelConfig>>,
    /// `LINUX_KERNEL_VERSION`: major, minor and patch level as `KERNEL_VERSION` packs them.
    pub kernel_version: Option<u32>,
    /// Number of possible CPUs, the size of a perf event array that does not state one.
    pub possible_cpus: u32,
}

/// Where the target's types come from.
#[derive(Debug, Clone)]
pub enum TargetBtf {
    /// There are none.
    None,
    /// `/sys/kernel/btf/vmlinux` of this machine, read when an object needs it.
    Host,
    /// These.
    Given(Arc<Btf>),
}

impl Environment {
    /// This machine. What it does not tell is left out.
    pub fn host() -> Self {
        static HOST: OnceLock<Environment> = OnceLock::new();
        HOST.get_or_init(|| {
            let release = std::fs::read_to_string(HOST_RELEASE).unwrap_or_default();
            let release = release.trim();
            let boot = format!("/boot/config-{release}");
            let modules = format!("/lib/modules/{release}/config");
            let config = ["/proc/config.gz", &boot, &modules]
                .into_iter()
                .find_map(|path| KernelConfig::read(Path::new(path)).ok());
            let cpus = std::fs::read_to_string(HOST_POSSIBLE_CPUS).unwrap_or_default();
            Self {
                btf: TargetBtf::Host,
                kernel_config: config.map(Arc::new),
                kernel_version: kernel_version(release),
                possible_cpus: count_cpus(&cpus).unwrap_or(1),
            }
        })
        .clone()
    }

    /// A kernel of which nothing is known. The result of loading then depends on the file alone.
    pub fn none() -> Self {
        Self {
            btf: TargetBtf::None,
            kernel_config: None,
            kernel_version: None,
            possible_cpus: 1,
        }
    }

    pub(crate) fn target_btf(&self) -> Result<Option<Arc<Btf>>, LoadError> {
        match &self.btf {
            TargetBtf::None => Ok(None),
            TargetBtf::Given(btf) => Ok(Some(btf.clone())),
            TargetBtf::Host => {
                static HOST: OnceLock<Option<Arc<Btf>>> = OnceLock::new();
                if let Some(Some(btf)) = HOST.get() {
                    return Ok(Some(btf.clone()));
                }
                let Ok(data) = std::fs::read(HOST_BTF) else {
                    return Ok(None);
                };
                limits::check(HOST_BTF, data.len() as u64, limits::BTF_BYTES)?;
                let btf = Arc::new(Btf::parse(data).map_err(LoadError::btf(HOST_BTF))?);
                Ok(HOST.get_or_init(|| Some(btf)).clone())
            }
        }
    }
}

/// The packed version of a release such as `6.18.44-arch1`. The patch level is capped at 255.
#[doc(alias = "KERNEL_VERSION")]
fn kernel_version(release: &str) -> Option<u32> {
    let mut parts = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse::<u32>().ok());
    let major = parts.next()??;
    let minor = parts.next()??;
    let patch = parts.next().flatten().unwrap_or(0);
    Some((major & 0xff) << 16 | (minor & 0xff) << 8 | patch.min(255))
}

/// Counts a list such as `0-3,8`.
fn count_cpus(list: &str) -> Option<u32> {
    let mut count = 0u32;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_packed_as_the_kernel_does() {
        assert_eq!(kernel_version("6.18.44-x"), Some(0x06_12_2c));
        assert_eq!(kernel_version("4.19.325"), Some(0x04_13_ff));
        assert_eq!(kernel_version("5.10-rc1"), Some(0x05_0a_00));
        assert_eq!(kernel_version("x"), None);
    }

    #[test]
    fn cpu_lists_are_counted() {
        assert_eq!(count_cpus("0-3,8\n"), Some(5));
        assert_eq!(count_cpus("0"), Some(1));
        assert_eq!(count_cpus(""), None);
        assert_eq!(count_cpus("3-1"), None);
    }
}
