//! A server process that ends with the test process, even when that is killed: a small shell waits for our
//! end of a pipe to close.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A server.
pub(crate) struct Keeper {
    shell: Child,
    /// Orders and what answers them.
    pipes: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
}

/// Runs the server, ends and starts it as it is told, and says when that is done.
const SCRIPT: &str = "
serve() { \"$@\" >>log 2>&1 & server=$!; }
end() { kill -KILL $server; wait $server; } 2>/dev/null
serve \"$@\"
while read -r order; do
  case $order in kill) end;; start) serve \"$@\";; esac
  echo done
done
end; cd /; rm -rf \"$OLDPWD\"";

impl Keeper {
    /// Starts a program in a folder, which goes with it; its output is in the folder's `log`.
    pub(crate) fn start(folder: &Path, program: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", SCRIPT, "sh"]).arg(program).args(args).current_dir(folder).env("PWD", folder);
        shell.envs(env.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // A process group of its own: ^C at the terminal reaches the server through the pipe only.
        let mut shell = shell.process_group(0).spawn().unwrap();
        let pipes = (shell.stdin.take().unwrap(), BufReader::new(shell.stdout.take().unwrap()));
        Self { shell, pipes: Mutex::new(Some(pipes)) }
    }

    /// Ends the server as `kill -9` does; its folder stays.
    pub(crate) fn kill(&self) {
        self.order("kill");
    }

    /// Starts the server again that was killed.
    pub(crate) fn start_again(&self) {
        self.order("start");
    }

    fn order(&self, order: &str) {
        let mut pipes = self.pipes.lock().unwrap();
        let (orders, answers) = pipes.as_mut().unwrap();
        writeln!(orders, "{order}").unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n", "a server's keeper has gone");
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The end of the pipe is the order to end.
        drop(self.pipes.get_mut().unwrap().take());
        let _ = self.shell.wait();
    }
}
/// What a server has said.
pub(crate) fn log(folder: &Path) -> String {
    File::open(folder.join("log")).and_then(std::io::read_to_string).unwrap_or_default()
}

/// Waits until a server answers.
///
/// # Panics
/// With its log when it does not.
pub(crate) fn until_ready(folder: &Path, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(180);
    while !ready() {
        assert!(Instant::now() < deadline, "a server does not start: {}", log(folder));
        std::thread::sleep(Duration::from_millis(50));
    }
}
