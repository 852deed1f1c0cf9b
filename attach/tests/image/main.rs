//! The in-target image and its trampolines at work, in the test's own process.
//!
//! The harness does what the injector does from outside: it maps the image, writes records, and
//! patches functions of this executable through `/proc/self/mem`. Probed functions and programs
//! are assembly, so that each register is known.

mod entry;
mod harness;
mod helpers;
mod link;
mod measure;
mod programs;
mod returns;
mod threads;
mod victims;
