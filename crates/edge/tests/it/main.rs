//! The features of `edge`, tested over loopback.

mod bind;
mod drain;
mod harness;
mod http;
mod limits;
mod readers;
mod reload;
mod silent;
mod unread;
mod upgrade;
