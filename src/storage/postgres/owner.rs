//! One writer for a schema: the row of the process that may write, with an epoch that is raised by each that takes over, and a
//! beat that shows that it lives. Made on the thread that opens a store; a thread of its own raises the beat and looks whether
//! the epoch is still this process's.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::domain::Timestamp;
use crate::storage::error::Loss;
use crate::storage::holder::{BEAT, Holder, WATCH};
use crate::storage::postgres::connection::fault::Fault;
use crate::storage::postgres::connection::session::{Session, Value};
use crate::storage::postgres::error::PostgresError;

/// Whom a loss is told.
type LossListener = Box<dyn Fn(&Loss) + Send>;

/// How often somebody else's beat is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// The claim. It is given up when it is dropped.
pub(super) struct Owner {
    claim: Arc<Claim>,
    beating: Option<(Sender<()>, JoinHandle<()>)>,
}

struct Claim {
    epoch: i64,
    schema: String,
    loss: Mutex<Option<Loss>>,
    listener: Mutex<Option<LossListener>>,
}

/// Makes a connection for the beat.
type Connect = Box<dyn Fn() -> Result<Session, Fault> + Send>;

impl Owner {
    /// Takes the schema, unless a process that is at work has it.
    pub fn claim(
        session: &Session,
        schema: &str,
        (token, now): (u128, Timestamp),
        connect: Connect,
    ) -> Result<Self, Claiming> {
        let (epoch, holder) = present(session)?;
        if let Some(holder) = Holder::parse(&holder)
            && !holder.has_ended()
            && is_at_work(session, schema, &holder.who)?
        {
            return Err(PostgresError::InUse { schema: schema.to_owned(), holder: holder.who }.into());
        }
        let own = Holder::own(token, now);
        // A commit of the other process that is under way ends first. Then its lock fails.
        let raised = session.query(
            "UPDATE owner SET epoch = epoch + 1, holder = $2 WHERE epoch = $1 RETURNING epoch".to_owned(),
            vec![Value::Int(epoch), Value::Text(own.text(0))],
        )?;
        let Some(row) = raised.first() else {
            let holder = Holder::parse(&present(session)?.1).map_or("another process".to_owned(), |holder| holder.who);
            return Err(PostgresError::InUse { schema: schema.to_owned(), holder }.into());
        };
        let claim = Arc::new(Claim {
            epoch: row.get(0),
            schema: schema.to_owned(),
            loss: Mutex::default(),
            listener: Mutex::default(),
        });
        let (stop, stopped) = bounded(0);
        let kept = Arc::clone(&claim);
        let thread = std::thread::Builder::new().name("owner".to_owned()).spawn(move || kept.keep(&stopped, &connect));
        let thread = thread.map_err(|error| Fault::Other(error.to_string()))?;
        Ok(Self { claim, beating: Some((stop, thread)) })
    }

    /// The epoch of this process.
    pub fn epoch(&self) -> i64 {
        self.claim.epoch
    }

    /// Has nobody taken over, as far as is known?
    pub fn check(&self) -> Result<(), Loss> {
        let loss = self.claim.loss.lock().unwrap_or_else(PoisonError::into_inner);
        loss.clone().map_or(Ok(()), Err)
    }

    /// Whom to tell, once, from another thread.
    pub fn when_lost(&self, listener: LossListener) {
        *self.claim.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let Some((stop, thread)) = self.beating.take() else { return };
        drop(stop);
        if thread.join().is_err() {
            log::error!("the thread that kept the claim had panicked");
        }
    }
}

/// Why a schema was not taken.
pub(super) enum Claiming {
    /// Somebody has it.
    Refused(PostgresError),
    /// The database does not answer.
    Failed(Fault),
}

impl From<PostgresError> for Claiming {
    fn from(error: PostgresError) -> Self {
        Self::Refused(error)
    }
}

impl From<Fault> for Claiming {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

fn present(session: &Session) -> Result<(i64, String), Fault> {
    let rows = session.query("SELECT epoch, holder FROM owner".to_owned(), Vec::new())?;
    rows.first().map(|row| (row.get(0), row.get(1))).ok_or_else(|| Fault::Other("table owner is empty".to_owned()))
}

fn beat(session: &Session) -> Result<i64, Fault> {
    let rows = session.query("SELECT beat FROM heartbeat".to_owned(), Vec::new())?;
    Ok(rows.first().map_or(0, |row| row.get(0)))
}

/// Watches whether the beat of that process grows.
fn is_at_work(session: &Session, schema: &str, who: &str) -> Result<bool, Fault> {
    log::info!("schema {schema} was taken by {who}; watching for {WATCH:?} whether that one is at work");
    let (begun, before) = (Instant::now(), beat(session)?);
    while begun.elapsed() < WATCH {
        std::thread::sleep(LOOK);
        if beat(session)? != before {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Claim {
    /// Raises the beat until it is told to stop, and then gives up the claim; or until it is lost, and somebody was told.
    fn keep(&self, stopped: &Receiver<()>, connect: &Connect) {
        let mut session = None;
        while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
            match self.raise(&mut session, connect) {
                Ok(true) => {}
                Ok(false) => {
                    self.tell(Loss::TakenOver(self.schema.clone()));
                    return;
                }
                // The lock of each commit decides. It is tried again in a second.
                Err(fault) => {
                    log::warn!("the claim on schema {} could not be renewed: {}", self.schema, fault.words());
                    session = None;
                }
            }
        }
        let values = vec![Value::Int(self.epoch)];
        let given = session
            .map_or_else(connect, Ok)
            .and_then(|session| session.query("UPDATE owner SET holder = '' WHERE epoch = $1".to_owned(), values));
        if let Err(fault) = given {
            log::debug!("the claim on schema {} could not be given up: {}", self.schema, fault.words());
        }
    }

    fn raise(&self, session: &mut Option<Session>, connect: &Connect) -> Result<bool, Fault> {
        let live = session.take().filter(|session| !session.is_closed()).map_or_else(connect, Ok)?;
        let raised = live.query(
            "UPDATE heartbeat SET beat = beat + 1 FROM owner WHERE owner.epoch = $1 RETURNING 1".to_owned(),
            vec![Value::Int(self.epoch)],
        )?;
        *session = Some(live);
        Ok(!raised.is_empty())
    }

    fn tell(&self, loss: Loss) {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tell) = &*listener {
            tell(&loss);
        }
        *self.loss.lock().unwrap_or_else(PoisonError::into_inner) = Some(loss);
    }
}
