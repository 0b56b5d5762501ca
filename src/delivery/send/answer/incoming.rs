//! One answer as it comes: interim answers, head, body, of which the first 64 KiB are read. Pure; runs on delivery threads.

use crate::delivery::send::answer::error::{AnswerError, HEAD_BYTES};
use crate::delivery::send::answer::fault;
use crate::delivery::send::answer::head::{Beginning, Head, begin};

/// Maximum bytes read of an answer's body.
const READ_BODY_BYTES: usize = 64 * 1024;
/// Maximum number of interim answers before the answer.
const INTERIMS_MAX: usize = 100;

/// What has come of an answer.
#[derive(Debug)]
pub(in crate::delivery) struct Incoming {
    interims: usize,
    head: Option<Head>,
    /// The first bytes of its body, so many at most.
    kept: Vec<u8>,
    most_kept: usize,
    /// How many of its bytes were read.
    read: usize,
}

impl Incoming {
    /// One of which nothing has come, and so many bytes of the body are kept.
    pub(in crate::delivery) fn keeping(most_kept: usize) -> Self {
        Self { interims: 0, head: None, kept: Vec::new(), most_kept, read: 0 }
    }

    /// Takes what it can of the input, and says how much that is; nothing if the rest of a head is missing.
    pub(in crate::delivery) fn take(&mut self, input: &[u8]) -> Result<usize, AnswerError> {
        let Some(head) = &mut self.head else { return self.take_head(input) };
        let (used, content) = head.body.take(input)?;
        let wanted = content.len().min(self.most_kept.saturating_sub(self.kept.len()));
        self.kept.extend_from_slice(content.get(..wanted).unwrap_or_default());
        self.read += used;
        Ok(used)
    }

    fn take_head(&mut self, input: &[u8]) -> Result<usize, AnswerError> {
        match begin(input)? {
            Beginning::Answer(length, head) => {
                self.head = Some(head);
                Ok(length)
            }
            Beginning::Interim(length) if self.interims < INTERIMS_MAX => {
                self.interims += 1;
                Ok(length)
            }
            Beginning::Interim(_) => Err(AnswerError::TooLong),
            Beginning::Part if input.len() >= HEAD_BYTES => Err(fault::of_length(input)),
            Beginning::Part => Ok(0),
        }
    }

    /// The status, once its head has come.
    pub(in crate::delivery) fn status(&self) -> Option<u16> {
        self.head.as_ref().map(|head| head.status)
    }

    /// Has all of it come?
    pub(in crate::delivery) fn is_complete(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.body.is_complete())
    }

    /// Is no more of it read? What is behind the first 64 KiB is not looked at.
    pub(in crate::delivery) fn is_over(&self) -> bool {
        self.is_complete() || self.read >= READ_BODY_BYTES
    }

    /// Is it whole if the connection ends here?
    pub(in crate::delivery) fn may_end(&self) -> bool {
        self.head.as_ref().is_some_and(|head| head.body.may_end())
    }

    /// Its head, if that has come, and the first bytes of its body.
    pub(in crate::delivery) fn into_parts(self) -> Option<(Head, Vec<u8>)> {
        self.head.map(|head| (head, self.kept))
    }
}
