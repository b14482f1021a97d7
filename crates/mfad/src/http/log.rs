//! What the journal gets of refusals and defects: codes and causes under the id of the request, nothing that was sent.

use mfad_service::error::Error;

use super::problem::Problem;

/// Logs why a call was not carried out, and says it to the caller.
pub(super) fn refusal(request: &str, error: &Error) -> Problem {
    log_error(request, error);
    // Nothing is left to log with the answer, which may find nobody to go to.
    Problem { cause: None, ..Problem::from(error) }
}

/// A 500 says that the journal has its cause.
pub(super) fn log_cause(request: &str, problem: &Problem) {
    if let Some(cause) = &problem.cause {
        tracing::error!(request, cause, "internal error");
    }
}

/// Logs why a call was not carried out.
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
