//! Every row of a store that is copied, from one snapshot. Runs on the main thread of a command.

use uuid::Uuid;

use crate::storage::copy::rows::{Rest, RowSource, StoreIdentity, Taker};
use crate::storage::engine::Engine as _;
use crate::storage::error::StorageError;
use crate::storage::postgres::engine::PostgresEngine;
use crate::storage::postgres::rows::Walk;
use crate::storage::postgres::tables::{ALL, FIND, FIND_POSITIONS, META, NOTICES, Order, SESSIONS, TOLD, Table};

/// Tables of which the rows are not copied as they are: some go by what they mean, some are made anew.
static LEFT_OUT: [&Table; 6] = [&META, &SESSIONS, &NOTICES, &TOLD, &FIND, &FIND_POSITIONS];

impl RowSource for PostgresEngine {
    fn each_row(&self, take: Taker<'_>) -> Result<(), StorageError> {
        let view = self.view()?;
        for table in ALL.into_iter().filter(|table| LEFT_OUT.iter().all(|out| out.place != table.place)) {
            for row in Walk::over(&view, table, table.all(), Order::Rising) {
                let (key, value) = row?;
                let row = table.open(&key, &value, || format!("the row {key:?} of the table {}", table.name))?.to_vec();
                take(table, key, row)?;
            }
        }
        Ok(())
    }

    fn rest(&self) -> Result<Rest, StorageError> {
        Rest::read(&self.view()?, &self.begin()?)
    }

    fn identity(&self) -> Result<StoreIdentity, StorageError> {
        let rows = self.query("SELECT store_id, sealed_with FROM store")?;
        let row = rows.first().ok_or_else(|| StorageError::Remote("table store is empty".to_owned()))?;
        let sealed_with = row.get::<_, Option<Uuid>>(1).map(|check| check.as_u128());
        Ok(StoreIdentity { store_id: row.get::<_, Uuid>(0).as_u128(), sealed_with })
    }
}
