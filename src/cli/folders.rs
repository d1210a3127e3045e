//! Where this machine keeps what programs may find again.

use std::path::PathBuf;

/// A folder that an environment variable names, unless it is empty.
pub fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The user's folder for caches; none on a machine without a home folder.
pub fn caches() -> Option<PathBuf> {
    let home = || named("HOME").or_else(|| named("USERPROFILE"));
    let windows = || named("LOCALAPPDATA").filter(|_| cfg!(windows));
    named("XDG_CACHE_HOME").or_else(windows).or_else(|| home().map(|home| home.join(".cache")))
}
