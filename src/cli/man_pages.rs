//! Arguments of `completions` and `man`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// A shell that completions can be made for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Shell {
    /// Goes into a folder of bash completions
    Bash,
    /// Goes into a folder of the function path
    Zsh,
    /// Goes into a folder of fish completions
    Fish,
}

/// `completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tempclock-webhooks completions bash \\
    > /etc/bash_completion.d/tempclock-webhooks
  tempclock-webhooks completions zsh \\
    > /usr/local/share/zsh/site-functions/_tempclock-webhooks
  tempclock-webhooks completions fish \\
    > ~/.config/fish/completions/tempclock-webhooks.fish")]
pub struct CompletionsArgs {
    /// Shell to generate completions for
    pub shell: Shell,
}

/// `man`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tempclock-webhooks man > tempclock-webhooks.1
  tempclock-webhooks man --output /usr/local/share/man/man1")]
pub struct ManArgs {
    /// Write a page for every command into this folder [default: the first page to stdout]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}
