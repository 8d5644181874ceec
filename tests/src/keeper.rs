//! A server process that ends with the test process, even when that is killed: a small shell waits for our
//! end of a pipe to close.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server.
pub(crate) struct Keeper(Child);

impl Keeper {
    /// Starts a program in a folder, which goes with it; its output is in the folder's `log`.
    pub(crate) fn start(folder: &Path, program: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let script =
            "\"$@\" >log 2>&1 & server=$!; read -r _; kill -KILL $server; wait $server; cd /; rm -rf \"$OLDPWD\"";
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script, "sh"]).arg(program).args(args).current_dir(folder).env("PWD", folder);
        shell.envs(env.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A process group of its own: ^C at the terminal reaches the server through the pipe only.
        Self(shell.process_group(0).spawn().unwrap())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Waits until a server answers.
///
/// # Panics
/// With its log when it does not.
pub(crate) fn until_ready(folder: &Path, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !ready() {
        let log = || File::open(folder.join("log")).and_then(std::io::read_to_string).unwrap_or_default();
        assert!(Instant::now() < deadline, "a server does not start: {}", log());
        std::thread::sleep(Duration::from_millis(50));
    }
}
