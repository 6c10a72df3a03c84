//! connect-cosmosdb
