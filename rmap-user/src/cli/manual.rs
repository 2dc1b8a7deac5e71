//! The commands `completions` and `man`, made from the definitions of the command line when they
//! are asked for, so that they are never out of date.

use std::io::{self, Write as _};

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
