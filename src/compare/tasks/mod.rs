//! The tasks. To add one: a file with an `open(options) -> Result<Task>`, and a line in [`TASKS`].

pub mod checkerboard;
pub mod draw;
pub mod eight_gaussians;
pub mod file;
pub mod lasa;
pub mod push_t;
pub mod reach;
pub mod regression;
pub mod two_moons;

use super::{CompareError, Result, Task};
use std::path::{Path, PathBuf};

/// What a task may be given.
#[derive(Clone, Debug, Default)]
pub struct TaskOptions {
    /// `--data`.
    pub data: Option<PathBuf>,
}

/// A built-in task.
pub struct TaskEntry {
    /// Its id on the command line.
    pub id: &'static str,
    /// What it is, in a line.
    pub what: &'static str,
    /// Makes it.
    pub open: fn(&TaskOptions) -> Result<Task>,
}

/// Every built-in task.
pub const TASKS: &[TaskEntry] = &[
    TaskEntry {
        id: "two-mode-regression",
        what: "1-D: two branches y = +-f(x), equally likely",
        open: regression::open,
    },
    TaskEntry { id: "two-moons", what: "2-D: torchcfm's two moons", open: two_moons::open },
    TaskEntry { id: "eight-gaussians", what: "2-D: torchcfm's eight Gaussians", open: eight_gaussians::open },
    TaskEntry {
        id: "checkerboard",
        what: "2-D: FFJORD's checkerboard, eight squares",
        open: checkerboard::open,
    },
    TaskEntry {
        id: "reach",
        what: "16-step paths left or right of an obstacle, given goal and obstacle",
        open: reach::open,
    },
    TaskEntry {
        id: "lasa",
        what: "LASA handwriting in a closed loop (--data: a folder of .npz or .mat files)",
        open: lasa::open,
    },
    TaskEntry { id: "push-t", what: "windows of the Push-T demonstrations", open: push_t::open },
];

impl Task {
    /// A built-in task by its id, or the windows of a FILE.npz.
    ///
    /// # Errors
    /// [`CompareError::UnknownTask`]; [`CompareError::TaskData`] and others of the task itself.
    pub fn open(name: &str, options: &TaskOptions) -> Result<Task> {
        if let Some(entry) = TASKS.iter().find(|t| t.id == name) {
            return (entry.open)(options);
        }
        if Path::new(name).extension().is_some_and(|e| e.eq_ignore_ascii_case("npz")) {
            no_data(name, options)?;
            return file::open(Path::new(name));
        }
        let known: Vec<&str> = TASKS.iter().map(|t| t.id).collect();
        Err(CompareError::UnknownTask { found: name.into(), known: known.join(", ") })
    }
}

/// For tasks that make their own data.
fn no_data(task: &str, options: &TaskOptions) -> Result<()> {
    match options.data {
        None => Ok(()),
        Some(_) => Err(CompareError::TaskData { task: task.into(), needed: "it takes no --data" }),
    }
}
