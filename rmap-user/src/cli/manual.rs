//! The commands `completions` and `man`, made from the definitions of the command line when they
//! are asked for, so that they are never out of date.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, save};

/// The arguments of `rmap completions`.
#[derive(Debug, Args)]
pub struct CompletionsOptions {
    /// The shell
    pub shell: Shell,
}

/// The arguments of `rmap man`.
#[derive(Debug, Args)]
pub struct ManOptions {
    /// Write one page for each command into this folder: rmap.1, rmap-run.1, …
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
}

/// Prints the manual, or writes its pages.
///
/// # Errors
/// What was attempted on which file.
pub fn man(options: &ManOptions) -> anyhow::Result<()> {
    match &options.to {
        Some(folder) => write_pages(folder),
        None => print(&manual()?),
    }
}

/// One page for rmap, and one for each command that the help lists.
fn write_pages(folder: &Path) -> anyhow::Result<()> {
    // Without its own command `help`, as `rmap --help` shows it.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned();
    for one in shown.collect::<Vec<_>>().into_iter().chain([command]) {
        let page = clap_mangen::Man::new(one);
        save::save(&folder.join(page.get_filename()), |mut file| page.render(&mut file))?;
    }
    Ok(())
}

/// The completions for a shell.
#[must_use]
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rmap", &mut text);
    text
}

/// The manual page, in roff: the command, then each of its commands.
///
/// # Errors
/// None but those of a writer to memory.
pub fn manual() -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut command = Cli::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(&mut text)?;
    for sub in command.get_subcommands() {
        let man = clap_mangen::Man::new(sub.clone());
        writeln!(text, ".SH \"RMAP {}\"", sub.get_name().to_uppercase())?;
        man.render_description_section(&mut text)?;
        man.render_synopsis_section(&mut text)?;
        man.render_options_section(&mut text)?;
    }
    Ok(text)
}

/// Prints text to stdout.
///
/// # Errors
/// stdout's, but not that its reader has gone.
pub fn print(text: &[u8]) -> anyhow::Result<()> {
    save::unless_gone(io::stdout().lock().write_all(text)).context("cannot write to stdout")
}
