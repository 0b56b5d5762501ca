//! Why a database cannot be used, in words to act on. Pure; any thread.

/// Why a database cannot be used. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The file with its URL.
    #[error(
        "storage.postgres.url_file: {0}. It holds one line such as postgres://user:password@host:5432/name?sslmode=verify-full"
    )]
    UrlFile(String),
    /// It cannot be reached.
    #[error(
        "PostgreSQL at {place} cannot be reached: {reason}. Start it, or correct the URL in storage.postgres.url_file"
    )]
    Unreachable {
        /// Its hosts and ports.
        place: String,
        /// Why.
        reason: String,
    },
    /// The login was refused.
    #[error(
        "PostgreSQL at {place} refuses the login: {reason}. Correct user and password in the file that \
         storage.postgres.url_file names, or the server's pg_hba.conf"
    )]
    Login {
        /// Its hosts and ports.
        place: String,
        /// Why.
        reason: String,
    },
    /// There is no such database.
    #[error("PostgreSQL at {place} has no such database: {reason}. Create it with createdb, or correct the URL")]
    NoDatabase {
        /// Its hosts and ports.
        place: String,
        /// What it said.
        reason: String,
    },
    /// TLS does not fit.
    #[error(
        "TLS with PostgreSQL at {place} fails: {reason}. Correct sslmode or sslrootcert in the URL, or the certificate of the \
         database server"
    )]
    Tls {
        /// Its hosts and ports.
        place: String,
        /// Why.
        reason: String,
    },
    /// It has no connection left.
    #[error(
        "PostgreSQL at {place} has too few connections: {reason}. A server of this kind takes {needed}; raise \
         max_connections there, or close others"
    )]
    TooFewConnections {
        /// Its hosts and ports.
        place: String,
        /// What it said.
        reason: String,
        /// How many are needed.
        needed: usize,
    },
    /// The user lacks rights.
    #[error(
        "the database user lacks rights in schema {schema}: {reason}. As its owner or a superuser run: GRANT CREATE ON \
         DATABASE … TO user for a new schema, or make that user the owner of the schema and its tables"
    )]
    Rights {
        /// The schema.
        schema: String,
        /// What was refused.
        reason: String,
    },
    /// It is too old.
    #[error("PostgreSQL {0} is too old; 15 or newer is needed")]
    TooOld(String),
    /// It takes no writes.
    #[error(
        "the database at {place} is read-only, as a standby is. Name the primary in storage.postgres.url_file, or all hosts; \
         the one that takes writes is used"
    )]
    ReadOnly {
        /// Its hosts and ports.
        place: String,
    },
    /// Its clock tells another time.
    #[error(
        "the clock of the database server tells {theirs}, and this machine's {own}: more than {limit_s} s apart. Set the one \
         that is wrong, for example with timedatectl set-ntp true"
    )]
    Clock {
        /// What the database says.
        theirs: String,
        /// What this machine says.
        own: String,
        /// How far they may be apart.
        limit_s: u64,
    },
    /// The schema belongs to something else.
    #[error(
        "schema {schema} is not one of tempclock-webhooks ({found}). Name another one in storage.postgres.schema; it is made \
         at the start"
    )]
    NotOurs {
        /// The schema.
        schema: String,
        /// What is in it.
        found: String,
    },
    /// A newer version of the program made it.
    #[error(
        "schema {schema} has format {found}, and this version knows formats up to {known}; install the newer version again"
    )]
    Newer {
        /// The schema.
        schema: String,
        /// Its format.
        found: i64,
        /// The newest known one.
        known: i64,
    },
    /// A copy was begun in it.
    #[error(
        "schema {schema} has a copy of a store that was not finished, and no store. Run tempclock-webhooks storage copy again, \
         which begins anew there, or name another schema in storage.postgres.schema"
    )]
    Unfinished {
        /// The schema.
        schema: String,
    },
    /// Another process is at work in it.
    #[error(
        "schema {schema} is in use by {holder}. Run the command where that one runs, so that it finds its control socket, or \
         stop that one first"
    )]
    InUse {
        /// The schema.
        schema: String,
        /// Who.
        holder: String,
    },
    /// It would have to be rewritten, which is left to the server.
    #[error("schema {schema} {reason}; start the server first. Nothing was changed")]
    NotYet {
        /// The schema.
        schema: String,
        /// What has to be done.
        reason: String,
    },
    /// Something else.
    #[error("the database at {place} cannot be used: {reason}")]
    Failed {
        /// Its hosts and ports.
        place: String,
        /// Why.
        reason: String,
    },
}

impl PostgresError {
    /// Whether another process is at work in the schema.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::InUse { .. })
    }

    /// Whether it is for the operator to correct, so that a restart does not help.
    #[must_use]
    pub fn is_of_the_configuration(&self) -> bool {
        matches!(
            self,
            Self::UrlFile(_)
                | Self::Login { .. }
                | Self::NoDatabase { .. }
                | Self::Tls { .. }
                | Self::Rights { .. }
                | Self::TooOld(_)
                | Self::NotOurs { .. }
                | Self::Newer { .. }
                | Self::Unfinished { .. }
        )
    }
}
