//! The programs, one file per subsystem.

mod access;
mod calibrate;
mod fault;
mod lifecycle;
mod mapping;
mod rss;
