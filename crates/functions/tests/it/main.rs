//! Feature tests of the functions host. One binary, so that it is linked once.

mod app;
mod crashes;
mod dynamic_concurrency;
mod fake;
mod feed;
mod feeds;
mod function_rpc;
mod generations;
mod hot_reload;
mod http;
mod http_details;
mod index_cache;
mod keys;
mod node;
mod proxy;
mod push;
mod real_host;
mod recorded_aspnet;
mod scaling;
mod startup;
mod timers;
mod usage;
mod worker;
