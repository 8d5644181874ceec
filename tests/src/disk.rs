//! A small disk: a file system of so many bytes in memory, which only root can mount. It goes with the test process,
//! even when that is killed.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::not_run;

/// A mounted disk.
pub struct SmallDisk {
    keeper: Child,
}

impl SmallDisk {
    /// Mounts a disk of so many KiB on a folder, which is made if missing. `None`, and said so, where this user
    /// cannot.
    pub fn mount(folder: &Path, kib: u64) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        // `read` returns when the test process closes the pipe or dies.
        let script = "mount -t tmpfs -o size=$1k,mode=0755 connect-tests \"$2\" || exit 1
            echo mounted; read -r _; umount -l \"$2\"";
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script, "sh", &kib.to_string()]).arg(folder).process_group(0);
        let mut keeper = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line != "mounted\n" {
            let _ = keeper.wait();
            not_run(&format!("a full disk at {}: a small one cannot be mounted here", folder.display()));
            return None;
        }
        Some(Self { keeper })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Makes a folder's disk full, but for what is given back when the file that fills it is removed: its path.
///
/// # Panics
/// When it takes more than a small disk has.
pub fn fill(folder: &Path) -> std::path::PathBuf {
    use std::io::Write as _;
    let path = folder.join("filler");
    let mut file = std::fs::File::create(&path).unwrap();
    for _ in 0..64 << 10 {
        if file.write_all(&[0; 1024]).is_err() {
            return path;
        }
    }
    panic!("{} is not a small disk", folder.display());
}
