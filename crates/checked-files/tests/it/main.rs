//! The files as a store uses them: damage, loss, kills, the way from the older format, copies.

mod damage;
mod opening;
mod table;
