//! Logs refusals and defects to the journal: causes under the id of the request, and nothing that the client sent.

use mfad_service::error::Error;

use super::problem::Problem;

/// Logs why a call was not carried out, and returns the problem document for the caller.
pub(super) fn refusal(request: &str, error: &Error) -> Problem {
    log_error(request, error);
    // The cause is removed because it has been logged just now. The response may never be sent, if the client has
    // disconnected.
    Problem { cause: None, ..Problem::from(error) }
}

/// Logs the cause of a 500 that was not logged before. The response says that the journal has it.
pub(super) fn log_cause(request: &str, problem: &Problem) {
    if let Some(cause) = &problem.cause {
        tracing::error!(request, cause, "internal error");
    }
}

/// Logs why a call was not carried out, at a level that depends on who is at fault.
pub(super) fn log_error(request: &str, error: &Error) {
    match error {
        Error::Tampered(cause) => {
            tracing::error!(request, cause, "the store is damaged, or was changed by another program")
        }
        Error::Internal(cause) => tracing::error!(request, cause, "internal error"),
        Error::DeviceFailed(cause) => tracing::warn!(request, cause, "a hardware key failed"),
        Error::StorageUnavailable(cause) => tracing::error!(request, cause, "the store cannot be written"),
        other => tracing::debug!(request, refusal = %other, "refused"),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(work: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, work);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_cause_of_a_500_is_logged_under_its_request() {
        for problem in [Problem::internal("the cause"), Problem::from(&Error::Internal("the cause".to_owned()))] {
            let log = logged(|| log_cause("an-id", &problem));

            let cause = problem.cause.as_deref().expect("a cause");
            assert!(log.contains("ERROR") && log.contains("an-id") && log.contains(cause), "{log}");
        }
        for error in [Error::NotFound, Error::Busy, Error::Unauthenticated] {
            assert_eq!(logged(|| log_cause("an-id", &Problem::from(&error))), "");
        }
    }

    #[test]
    fn a_cause_that_was_logged_with_the_call_is_not_logged_again() {
        for error in [
            Error::Tampered("the cause".to_owned()),
            Error::Internal("the cause".to_owned()),
            Error::StorageUnavailable("the cause".to_owned()),
        ] {
            let log = logged(|| log_cause("an-id", &refusal("an-id", &error)));

            assert_eq!(log.lines().filter(|line| line.contains("an-id")).count(), 1, "{log}");
        }
    }
}
