//! The engine against real programs. These tests need the right to use ptrace (same user, and
//! `ptrace_scope` below 3) and a C compiler; without, they fail and say what is refused.

mod descriptors;
mod helper;
mod launching;
mod letting_go;
mod processes;
mod signals;
mod support;
