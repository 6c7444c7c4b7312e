//! OpenAFS's kernel module for the guest: built from Debian's source for Debian's kernel, kept in the cache.

use crate::apt::Apt;
use crate::packages::{self, Tree};
use crate::say;
use anyhow::{Context as _, Result, bail};
use integration::namespace::over_usr;
use integration::{process, wait};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Debian's package of the source.
const SOURCE: &str = "openafs-modules-source";
/// Time for a build; six minutes on two idle processors.
const BUILD_LIMIT: Duration = Duration::from_secs(45 * 60);
/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(30);
/// What Debian's `debian/rules` of the source does, without its tools for packages. Arguments: kernel's version, work directory, result.
const BUILD: &str = r#"
version=$1 work=$2 result=$3
export LC_ALL=C KVERS="$version" KSRC="/usr/src/linux-headers-$version"
cd "$work"
tar xjf /usr/src/openafs.tar.bz2
cd modules/openafs
sh debian/prep-modules "$KSRC"
sh configure --with-afs-sysname="$(sh debian/sysname)" --disable-linux-syscall-probing \
    --with-linux-kernel-headers="$KSRC" --with-linux-kernel-packaging
make -j"$(nproc)"
strip -g -o "$result" "src/libafs/MODLOAD-$version-SP/openafs.ko"
"#;

/// The module for a kernel; built if the cache has none of this version of both.
///
/// # Errors
/// The build failed: the text has the end of its log.
pub(crate) fn ensure(apt: &Apt, dir: &Path, kernel: &str) -> Result<PathBuf> {
    let source = apt.candidate(SOURCE)?;
    let module = dir.join(format!("openafs-{kernel}-{}.ko", source.replace(['/', ':'], "_")));
    if module.is_file() {
        return Ok(module);
    }
    let headers = format!("linux-headers-{kernel}");
    let tools = Tree {
        what: "what builds OpenAFS's kernel module",
        dir: dir.join("build"),
        marker: dir.join("build.complete"),
        with_needs: &[&headers, "gcc", "libc6-dev", "make", "flex", "bison", "bzip2", "binutils"],
        alone: &[SOURCE],
    };
    tools.ensure(apt, |_| Ok(()))?;
    build(&tools.dir, dir, kernel, &module)?;
    tools.remove()?;
    forget_others(dir, &module)?;
    Ok(module)
}

/// Builds it.
fn build(tools: &Path, dir: &Path, kernel: &str, module: &Path) -> Result<()> {
    let (work, scratch) = (dir.join("build.work"), dir.join("build.mounts"));
    for d in [&work, &scratch] {
        packages::remove(d)?;
        fs::create_dir_all(d)?;
    }
    let path = dir.join("build.log");
    let log = File::create(&path)?;
    let part = module.with_extension("part");
    say(&format!(
        "building OpenAFS's kernel module for {kernel}; this takes 6 to 12 minutes; log: {}",
        path.display()
    ));
    let mut command = over_usr(tools, &scratch, "/bin/sh");
    command
        .args(["-exc", BUILD, "build", kernel])
        .arg(&work)
        .arg(&part)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let mut process = process::Guarded::spawn(&mut command, "build of the module", Duration::from_secs(1))?;
    let began = Instant::now();
    let mut told = began;
    let status = wait::until_every(Duration::from_millis(200), "build of the module", BUILD_LIMIT, || {
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            say(&format!("  {:.0} s: {}", began.elapsed().as_secs_f32(), last_line(&path)));
        }
        process.ended()
    })?;
    if !status.success() {
        bail!("OpenAFS's kernel module cannot be built: {status}; {}", process::tail(&path, 25));
    }
    fs::rename(&part, module).context("the module")?;
    packages::remove(&work)?;
    packages::remove(&scratch)
}

/// What the build is at, shortened.
fn last_line(log: &Path) -> String {
    let text = process::tail(log, 1);
    text.lines().nth(1).unwrap_or_default().chars().take(80).collect()
}

/// Removes modules for other kernels and of other versions.
fn forget_others(dir: &Path, module: &Path) -> Result<()> {
    for entry in fs::read_dir(dir)?.flatten() {
        let path = entry.path();
        if path != module && path.extension().is_some_and(|e| e == "ko") {
            packages::remove(&path)?;
        }
    }
    Ok(())
}
