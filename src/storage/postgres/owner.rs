//! One writer for a schema. The row in `lease` names the process that may write, its epoch, and until when, by the clock of
//! the database; the process renews it each second, and relies on it for a shorter time by its own steady clock. Whoever
//! takes over raises the epoch there and in `owner`, which each commit holds a lock on. Made on the thread that opens a
//! store; a thread of its own renews.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use uuid::Uuid;

use crate::domain::Timestamp;
use crate::storage::error::Loss;
use crate::storage::holder::{BEAT, Holder};
use crate::storage::lease::{Lease, Moment};
use crate::storage::nodes::ActiveServer;
use crate::storage::postgres::connection::fault::Fault;
use crate::storage::postgres::connection::line::Line;
use crate::storage::postgres::connection::session::{Session, Value};
use crate::storage::postgres::error::PostgresError;
use crate::storage::postgres::nodes::Node;

/// Whom a loss is told.
type LossListener = Box<dyn Fn(&Loss) + Send>;

/// How long its process relies on a lease, from before it asked for it. The database counts 8 s (in the statements below),
/// from later on, so nobody can take it in that time even if one of the clocks runs a tenth faster than the other.
const RELIED_ON: Duration = Duration::from_secs(5);
/// A lease that has run out is watched for so long before it is taken: after an outage of the database its process is about
/// to renew it.
const WATCH: Duration = Duration::from_secs(2);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(250);

const PRESENT: &str = "SELECT epoch, holder, expires_at <= clock_timestamp(), \
                       (extract(epoch FROM expires_at) * 1000)::int8 FROM lease";
/// A commit of the process before, if one is under way, ends first; from then on its lock fails.
const TAKE: &str = "WITH taken AS (UPDATE lease SET epoch = epoch + 1, node = $4, holder = $2, \
                    expires_at = clock_timestamp() + interval '8 s' WHERE epoch = $1 AND \
                    (expires_at <= clock_timestamp() OR $3::int8 = 1) RETURNING epoch) \
                    UPDATE owner SET epoch = taken.epoch FROM taken RETURNING owner.epoch";
const RENEW: &str = "UPDATE lease SET expires_at = clock_timestamp() + interval '8 s' FROM owner \
                     WHERE lease.epoch = $1 AND owner.epoch = $1 RETURNING 1";
const GIVE_UP: &str = "UPDATE lease SET holder = '', expires_at = clock_timestamp() WHERE epoch = $1";

/// The claim. It is given up when it is dropped.
pub(super) struct Owner {
    claim: Arc<Claim>,
    renewing: Option<(Sender<()>, JoinHandle<()>)>,
}

struct Claim {
    epoch: i64,
    schema: String,
    lease: Lease,
    /// None: a command, which is in no list.
    node: Option<Node>,
    loss: Mutex<Option<Loss>>,
    listener: Mutex<Option<LossListener>>,
}

/// The lease, as the database has it.
pub(super) struct Held {
    epoch: i64,
    /// Who has it, if anybody.
    holder: Option<Holder>,
    has_run_out: bool,
    /// Changes with each renewal.
    expires_at_ms: i64,
}

impl Held {
    /// Reads it.
    pub fn read(session: &Session) -> Result<Self, Fault> {
        let rows = session.query(PRESENT.to_owned(), Vec::new())?;
        let row = rows.first().ok_or_else(|| Fault::Other("table lease is empty".to_owned()))?;
        Ok(Self {
            epoch: row.get(0),
            holder: Holder::parse(row.get(1)),
            has_run_out: row.get(2),
            expires_at_ms: row.get(3),
        })
    }

    /// Whoever has it, if it is not for another one to take.
    pub fn in_use_by(&self) -> Option<ActiveServer> {
        let held = self.holder.as_ref().filter(|holder| !self.has_run_out && !holder.has_ended());
        held.map(|holder| ActiveServer { name: holder.who.clone(), epoch: self.epoch })
    }
}

impl Owner {
    /// Takes the schema, unless a process that is at work has it. `line` is for the renewals.
    pub fn claim(
        session: &Session,
        schema: &str,
        (token, now, node): (u128, Timestamp, Option<Node>),
        mut line: Line,
    ) -> Result<Self, Claiming> {
        let in_use = |holder: String| PostgresError::InUse { schema: schema.to_owned(), holder };
        let held = Held::read(session)?;
        let has_ended = held.holder.as_ref().is_none_or(Holder::has_ended);
        if let Some(holder) = held.holder.as_ref().filter(|_| !has_ended)
            && (!held.has_run_out || is_renewed(session, schema, &held, &holder.who)?)
        {
            return Err(in_use(holder.who.clone()).into());
        }
        let (own, asked) = (Holder::own(token, now), Moment::now());
        let (id, has_ended) = (Uuid::from_u128(token), has_ended.into());
        let values = vec![Value::Int(held.epoch), Value::Text(own.text(0)), Value::Int(has_ended), Value::Id(id)];
        let rows = session.query(TAKE.to_owned(), values)?;
        let Some(row) = rows.first() else {
            let holder = Held::read(session)?.holder.map_or("another process".to_owned(), |holder| holder.who);
            return Err(in_use(holder).into());
        };
        let lease = Lease::renewable();
        lease.renew(asked.plus(RELIED_ON));
        let claim = Arc::new(Claim {
            epoch: row.get(0),
            schema: schema.to_owned(),
            lease,
            node,
            loss: Mutex::default(),
            listener: Mutex::default(),
        });
        let (stop, stopped) = bounded(0);
        let kept = Arc::clone(&claim);
        let thread = std::thread::Builder::new().name("owner".to_owned()).spawn(move || kept.keep(&stopped, &mut line));
        let thread = thread.map_err(|error| Fault::Other(error.to_string()))?;
        Ok(Self { claim, renewing: Some((stop, thread)) })
    }

    /// The epoch of this process.
    pub fn epoch(&self) -> i64 {
        self.claim.epoch
    }

    /// Until when this process may act.
    pub fn lease(&self) -> Lease {
        self.claim.lease.clone()
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
        let Some((stop, thread)) = self.renewing.take() else { return };
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

/// Watches whether that lease, which has run out, is renewed.
fn is_renewed(session: &Session, schema: &str, held: &Held, who: &str) -> Result<bool, Fault> {
    log::info!("the lease on schema {schema} of {who} has run out; watching for {WATCH:?} whether it is renewed");
    let begun = Instant::now();
    while begun.elapsed() < WATCH {
        std::thread::sleep(LOOK);
        let now = Held::read(session)?;
        if (now.epoch, now.expires_at_ms) != (held.epoch, held.expires_at_ms) {
            // Given up meanwhile, it may be taken.
            return Ok(now.holder.is_some());
        }
    }
    Ok(false)
}

impl Claim {
    /// Renews the lease until it is told to stop, and then gives up the claim; or until it is lost, and somebody was told.
    fn keep(&self, stopped: &Receiver<()>, line: &mut Line) {
        loop {
            match self.renew(line) {
                Ok(true) => {}
                Ok(false) => {
                    self.lease.end();
                    self.tell(Loss::TakenOver(self.schema.clone()));
                    return;
                }
                // To try again gives no commit back.
                Err(Fault::Behind(words)) => {
                    self.lease.end();
                    self.tell(Loss::Behind(words));
                    return;
                }
                // The lock of each commit decides. It is tried again in a second.
                Err(fault) => {
                    log::warn!("the lease on schema {} could not be renewed: {}", self.schema, fault.words());
                }
            }
            if stopped.recv_timeout(BEAT) != Err(RecvTimeoutError::Timeout) {
                break;
            }
        }
        let given = line.ask(|session| {
            session.query(GIVE_UP.to_owned(), vec![Value::Int(self.epoch)])?;
            self.node.as_ref().map_or(Ok(()), |node| node.leave(session))
        });
        if let Err(fault) = given {
            log::debug!("the claim on schema {} could not be given up: {}", self.schema, fault.words());
        }
    }

    fn renew(&self, line: &mut Line) -> Result<bool, Fault> {
        let asked = Moment::now();
        let renewed = line.query(RENEW, vec![Value::Int(self.epoch)])?;
        if renewed.is_empty() {
            return Ok(false);
        }
        self.lease.renew(asked.plus(RELIED_ON));
        if let Some(node) = &self.node {
            line.ask(|session| node.is_here(session))?;
        }
        Ok(true)
    }

    fn tell(&self, loss: Loss) {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tell) = &*listener {
            tell(&loss);
        }
        *self.loss.lock().unwrap_or_else(PoisonError::into_inner) = Some(loss);
    }
}
