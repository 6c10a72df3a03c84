//! The files as a store uses them: damage, loss, kills, conversion of the older format, copies.

mod damage;
mod opening;
mod table;
