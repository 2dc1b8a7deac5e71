//! The programs, one file per subsystem.

mod access;
mod allocator;
mod calibrate;
mod fault;
mod file;
mod lifecycle;
mod malloc;
mod mapping;
mod rss;
mod table;
mod tracing;
