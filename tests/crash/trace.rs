//! One run under `strace`, and what its log tells.
//!
//! `strace` counts the calls of each thread by itself. So that the n-th call is the same one in every
//! run, a point names the file as well, and the program gets a single worker thread: each file then has
//! one thread that writes it, and one thread sends.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::home::{BINARY, Home};

/// Calls that change something outside the process. `?`: not every machine has it.
const CHANGING: &[&str] = &[
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "sendto",
    "sendmsg",
    "sendmmsg",
    "sendfile",
    "copy_file_range",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "?rename",
    "renameat",
    "renameat2",
    "?link",
    "linkat",
    "?unlink",
    "unlinkat",
    "?mkdir",
    "mkdirat",
    "ftruncate",
    "fallocate",
];

/// Calls that take a new descriptor: where EMFILE comes from.
const OPENING: &[&str] = &[
    "?open",
    "openat",
    "socket",
    "socketpair",
    "?pipe",
    "pipe2",
    "?epoll_create",
    "epoll_create1",
    "?eventfd",
    "eventfd2",
    "?inotify_init",
    "inotify_init1",
    "dup",
    "dup3",
];

/// Stands for the process id in the names of temporary files.
pub const PID: &str = "{pid}";
/// A target that is no file.
pub const SOCKET: &str = "socket";
/// The target of calls that open something: they are counted together.
pub const ANY: &str = "-";

/// Nothing under test takes this long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(100);

/// A call of interest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    pub name: String,
    /// A path below the folder, [`SOCKET`] or [`ANY`].
    pub target: String,
}

/// What is done to the n-th call of a thread.
#[derive(Clone, Debug)]
pub struct Injection<'p> {
    pub call: &'p Call,
    pub nth: usize,
    /// As `strace` writes it: `signal=KILL`, `error=EIO`.
    pub what: &'p str,
    /// Also to all calls after it.
    pub on: bool,
}

/// A run that has ended.
pub struct Traced {
    pub status: ExitStatus,
    pub stderr: String,
    pub hung: bool,
    pub log: Vec<(u32, Call)>,
    pub raw: String,
}

impl Traced {
    /// The place of the call that the injection hit among all those of its kind; `None`: never reached.
    pub fn hit(&self, injection: &Injection<'_>) -> Option<usize> {
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        let alike = self.log.iter().filter(|(_, call)| call == injection.call);
        for (place, (thread, _)) in alike.enumerate() {
            let count = counts.entry(*thread).or_default();
            *count += 1;
            if *count == injection.nth {
                return Some(place + 1);
            }
        }
        None
    }
}

/// Whether `strace` can be used here; why not.
pub fn usable() -> Result<(), String> {
    let tried = Command::new("strace").args(["-f", "-e", "inject=write:error=EIO:when=1", "true"]).output();
    match tried {
        Err(error) => Err(format!("strace can't be started ({error}); install it")),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("strace can't trace here: {}", said.trim()))
        }
        Ok(_) => Ok(()),
    }
}

/// Runs the binary in a folder under `strace`, with or without a fault.
pub fn run(home: &Home, arguments: &[&str], injection: Option<&Injection<'_>>) -> Traced {
    let folder = std::fs::canonicalize(home.path(".")).unwrap();
    let log = home.path("strace.log");
    let mut options: Vec<String> = ["strace", "-D", "-f", "-y", "-s", "0", "-o"].map(str::to_owned).into();
    options.push(log.to_str().unwrap().to_owned());
    let traced: Vec<&str> = CHANGING.iter().chain(OPENING).copied().collect();
    options.extend(["-e".to_owned(), format!("trace={}", traced.join(","))]);
    // Under -D the program keeps the id of the shell that was replaced: `$$` is known in advance.
    let mut shell = "exec \"$@\"".to_owned();
    if let Some(Injection { call, nth, what, on }) = injection {
        let on = if *on { "+" } else { "" };
        options.extend(["-e".to_owned(), format!("inject={}:{what}:when={nth}{on}", call.name)]);
        if call.target != SOCKET && call.target != ANY {
            let path = folder.join(&call.target).to_str().unwrap().replace(PID, "'$$'");
            shell = format!("tool=$1; shift; exec \"$tool\" -P '{path}' \"$@\"");
        }
    }
    let mut command = home.command(&[]);
    let environment: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
    command = Command::new("sh");
    command.args(["-c", &shell, "sh"]).args(&options).arg(BINARY).args(arguments).current_dir(&folder);
    for name in environment {
        command.env_remove(name);
    }
    command.env("TOKIO_WORKER_THREADS", "1");
    let (status, stderr, hung) = finish(command);
    let raw = std::fs::read_to_string(&log).unwrap();
    let entries = raw.lines().filter_map(|line| parse(line, &folder)).collect();
    Traced { status, stderr, hung, log: entries, raw }
}

/// Waits for the program and for its tracer, which holds the same pipe.
fn finish(mut command: Command) -> (ExitStatus, String, bool) {
    let mut child: Child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        pipe.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    });
    let step = Duration::from_millis(5);
    let mut hung = true;
    for _ in 0..PATIENCE.as_millis() / step.as_millis() {
        if reader.is_finished() {
            hung = false;
            break;
        }
        std::thread::sleep(step);
    }
    if hung {
        let _ = child.kill();
    }
    let status = child.wait().unwrap();
    (status, reader.join().unwrap(), hung)
}

/// Reads a line of the log; `None` where it is no call of interest.
fn parse(line: &str, folder: &Path) -> Option<(u32, Call)> {
    let (thread, rest) = line.split_once(' ')?;
    let thread = thread.parse().ok()?;
    let (name, arguments) = rest.trim_start().split_once('(')?;
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return None;
    }
    if OPENING.iter().any(|opening| opening.trim_start_matches('?') == name) {
        return Some((thread, Call { name: name.to_owned(), target: ANY.to_owned() }));
    }
    let path = if arguments.starts_with('"') || arguments.starts_with("AT_FDCWD") {
        arguments.split('"').nth(1)?
    } else {
        arguments.split_once('<')?.1.split_once('>')?.0
    };
    let target = if path.starts_with("socket:") {
        SOCKET.to_owned()
    } else {
        // Bells between threads, and what is said on the terminal, change nothing.
        let below = Path::new(path).strip_prefix(folder).ok()?.to_str()?;
        stable(below)
    };
    Some((thread, Call { name: name.to_owned(), target }))
}

/// Puts [`PID`] for the process id in the name of a temporary file.
fn stable(path: &str) -> String {
    let Some((before, after)) = path.split_once(".record-sync-") else { return path.to_owned() };
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    format!("{before}.record-sync-{PID}{}", &after[digits..])
}

#[test]
fn lines_of_the_log_are_read() {
    let cases = [
        (
            "7 pwrite64(9</h/data/state.sqlite-wal>, \"\"..., 24, 0) = 24",
            "pwrite64",
            "data/state.sqlite-wal",
            "a file",
        ),
        (
            "7 fsync(9</h/.p.csv.record-sync-812-3.tmp> <unfinished ...>",
            "fsync",
            ".p.csv.record-sync-{pid}-3.tmp",
            "a temporary file, cut by another thread",
        ),
        (
            "7 rename(\"/h/.p.csv.record-sync-812-3.tmp\", \"/h/p.csv\") = 0",
            "rename",
            ".p.csv.record-sync-{pid}-3.tmp",
            "a path",
        ),
        ("7 writev(5<socket:[12]>, [], 2) = 9", "writev", SOCKET, "a request"),
        ("7 openat(AT_FDCWD</h>, \"/etc/x\", O_RDONLY) = 3", "openat", ANY, "a new descriptor, wherever"),
    ];
    for (line, name, target, why) in cases {
        let wanted = Call { name: name.to_owned(), target: target.to_owned() };
        assert_eq!(parse(line, Path::new("/h")), Some((7, wanted)), "{why}");
    }
    for (line, why) in [
        ("7 write(4<anon_inode:[eventfd]>, \"\"..., 8) = 8", "a bell"),
        ("7 write(1</tmp/out>, \"\"..., 8) = 8", "elsewhere"),
        ("7 <... fsync resumed>) = 0", "the end of a call that was counted"),
        ("7 +++ killed by SIGKILL +++", "no call"),
    ] {
        assert_eq!(parse(line, Path::new("/h")), None, "{why}");
    }
}
