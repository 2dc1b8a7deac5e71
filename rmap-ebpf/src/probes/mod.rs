//! The programs, one file per subsystem.

mod calibrate;
mod fault;
mod lifecycle;
mod mapping;
mod rss;
