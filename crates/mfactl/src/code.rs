//! Answers to a second factor: codes and backup codes, told apart by their format, and answers that a hardware key or
//! security key gives itself.

use mfad_api::Diagnosis;

use crate::call::{Body, Call};
use crate::client::Answer;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Output, visible};
use crate::prompt::{PIN, Source, Wanted};
use crate::secret_text::Hidden;

/// A code or a backup code.
pub(crate) const ANY_CODE: Wanted = Wanted { label: "code", instead: "use --code-file or --code-stdin" };
/// A code, and not a backup code.
pub(crate) const TOKEN: Wanted = Wanted { label: "authenticator code", instead: "use --code-file or --code-stdin" };
pub(crate) const BACKUP_CODE: Wanted = Wanted { label: "backup code", instead: "use --code-file or --code-stdin" };

/// Attempts to type a PIN in one command. A security key blocks its PIN after eight wrong ones.
const PINS_TYPED: u8 = 3;
/// Repeated attempts after a typed code of neither format.
const TYPING_AGAIN: u8 = 2;
/// Symbols of a backup code, without hyphens (BKC-1).
const BACKUP_SYMBOLS: usize = 16;
/// The symbols of Crockford's Base32, followed by those that it reads as one of them (I and L as 1, O as 0).
const BACKUP_ALPHABET: &str = "0123456789ABCDEFGHJKMNPQRSTVWXYZILO";

/// A typed answer to a second factor.
pub(crate) enum Code {
    /// 6 to 8 digits.
    Token(Hidden),
    /// 16 symbols, with or without hyphens.
    Backup(Hidden),
}

impl Code {
    /// Tells the two formats apart. A code of neither format is refused here, so that a typing error costs no attempt.
    pub(crate) fn parse(text: Hidden) -> Result<Self, Failure> {
        if (6..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self::Token(text));
        }
        let mut symbols = text.chars().filter(|symbol| *symbol != '-');
        if symbols.clone().count() == BACKUP_SYMBOLS && symbols.all(is_backup_symbol) {
            return Ok(Self::Backup(text));
        }
        Err(Failure::Usage("not a code of 6 to 8 digits, nor a backup code of 16 letters and digits".to_owned()))
    }

    /// Reads a code from its source. In a typed code, spaces are removed, since authenticator apps show `123 456`, and
    /// a code of neither format can be typed again.
    pub(crate) async fn ask(context: &Context, wanted: Wanted, source: &Source) -> Result<Self, Failure> {
        if *source != Source::Prompt {
            return Self::parse(context.prompter.secret(wanted, source).await?);
        }
        for _ in 0..TYPING_AGAIN {
            match Self::parse_typed(&context.prompter.typed(wanted).await?, wanted) {
                Ok(code) => return Ok(code),
                Err(slip) => context.out.error(&slip.to_string()),
            }
        }
        Self::parse_typed(&context.prompter.typed(wanted).await?, wanted)
    }

    fn parse_typed(text: &Hidden, wanted: Wanted) -> Result<Self, Failure> {
        Self::parse(without_blanks(text)).map_err(|slip| match slip {
            // In an enrolment there are no backup codes yet.
            Failure::Usage(_) if wanted.label == TOKEN.label => Failure::Usage("a code has 6 to 8 digits".to_owned()),
            other => other,
        })
    }

    /// Request body with this code.
    pub(crate) fn body(&self) -> Body {
        match self {
            Self::Token(token) => Body::new().secret("token", token, "$CODE"),
            Self::Backup(code) => Body::new().secret("code", code, "$BACKUP_CODE"),
        }
    }
}

/// Request body that has the user's hardware key or security key answer instead of a code.
pub(crate) fn by_key() -> Body {
    Body::new().member("device", true)
}

/// Sends a request that a key plugged into the host answers. If a source of the PIN is given, the first request already
/// has the PIN. Otherwise the user is asked for it when the daemon says that the key requires one.
///
/// `call` and `body` build the request anew for each attempt, since sending consumes it.
pub(crate) async fn ask_key<'a>(
    context: &mut Context,
    call: impl Fn() -> Call<'a>,
    body: impl Fn() -> Body,
    pin: &Source,
) -> Result<Answer, Failure> {
    let mut known = match pin {
        Source::Prompt => None,
        Source::Stdin | Source::File(_) => Some(context.prompter.secret(PIN, pin).await?),
    };
    for left in (0..=PINS_TYPED).rev() {
        ask_for_touch(context.out);
        let with_pin = known.as_ref().map_or_else(&body, |pin| body().secret("pin", pin, "$PIN"));
        match context.client.send(call().with(with_pin)).await?.granted() {
            Err(Failure::Refused(problem)) if left > 0 && *pin == Source::Prompt && problem.is_about_pin() => {
                if known.is_some() {
                    context.out.error(&problem.to_string());
                }
                known = Some(context.prompter.secret(PIN, pin).await?);
            }
            answered => return answered,
        }
    }
    Err(Failure::Internal("no request was sent".to_owned()))
}

/// Sends a request with a code of this source, or only with a backup code if `recovery` is set. A typed code may be wrong
/// by a typing error, so it is asked for again while attempts are left. One from a file would only be wrong again.
pub(crate) async fn send_code<'a>(
    context: &mut Context,
    recovery: bool,
    source: &Source,
    call: impl Fn(&Code) -> Call<'a>,
) -> Result<Answer, Failure> {
    let wanted = if recovery { BACKUP_CODE } else { ANY_CODE };
    loop {
        let code = Code::ask(context, wanted, source).await?;
        if recovery && matches!(code, Code::Token(_)) {
            return Err(Failure::Usage(
                "not a backup code; omit --recovery to use a code of the authenticator".to_owned(),
            ));
        }
        let answer = context.client.send(call(&code)).await?.granted();
        if let Err(Failure::Refused(problem)) = &answer
            && let Some(diagnosis) = &problem.diagnosis
        {
            context.out.aside(&visible(&diagnosed(diagnosis)));
        }
        match answer {
            Err(Failure::Refused(problem)) if *source == Source::Prompt && problem.may_try_again() => {
                context.out.error(&problem.to_string());
            }
            other => return other,
        }
    }
}

/// Names the settings of the authenticator that the code fits, where the imported factor has other ones.
fn diagnosed(found: &Diagnosis) -> String {
    let algorithm = found.algorithm.as_deref().unwrap_or("another algorithm");
    let digits = found.digits.map_or_else(String::new, |digits| format!(", {digits} digits"));
    let period = found.period.map_or_else(String::new, |period| format!(", a period of {period} s"));
    let drift = found.drift_seconds.filter(|seconds| *seconds != 0);
    let drift = drift.map_or_else(String::new, |seconds| {
        let way = if seconds > 0 { "ahead of" } else { "behind" };
        format!(", with a clock {} s {way} this host's", seconds.unsigned_abs())
    });
    format!(
        "the code is that of an authenticator set to {algorithm}{digits}{period}{drift}; the imported factor differs"
    )
}

/// Asks for a touch, on standard error. Call it before the request: the daemon waits for the touch before it responds.
pub(crate) fn ask_for_touch(out: Output) {
    if !out.is_quiet() {
        out.aside("touch the key that blinks");
    }
}

fn is_backup_symbol(symbol: char) -> bool {
    BACKUP_ALPHABET.contains(symbol.to_ascii_uppercase())
}

fn without_blanks(text: &Hidden) -> Hidden {
    let mut kept = Hidden::new(String::with_capacity(text.len()));
    kept.extend(text.chars().filter(|symbol| *symbol != ' '));
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Code, Failure> {
        Code::parse(Hidden::new(text.to_owned()))
    }

    #[test]
    fn a_diagnosis_names_the_settings_and_the_clock() {
        let found =
            serde_json::from_str(r#"{"algorithm":"SHA256","digits":6,"period":30,"driftSeconds":-600}"#).unwrap();

        let said = diagnosed(&found);

        assert!(said.contains("SHA256, 6 digits, a period of 30 s, with a clock 600 s behind this host's"), "{said}");
    }

    #[test]
    fn six_to_eight_digits_are_a_token() {
        for token in ["021589", "0215890", "02158900"] {
            assert!(matches!(parse(token), Ok(Code::Token(_))), "{token}");
        }
    }

    #[test]
    fn sixteen_symbols_are_a_backup_code() {
        for code in ["0123-4567-89AB-CDEF", "o1l23456789abcde", "0123456789012345", "-0-123-456789abcdef"] {
            assert!(matches!(parse(code), Ok(Code::Backup(_))), "{code}");
        }
    }

    #[test]
    fn anything_else_is_not_sent() {
        for odd in [
            "",
            "12345",
            "123456789",
            " 123456",
            "123456\n",
            "１２３４５６",
            "0123-4567-89AB-CDEU",
            "0123-4567-89AB-CDE",
        ] {
            assert!(matches!(parse(odd), Err(Failure::Usage(_))), "{odd}");
        }
    }

    #[test]
    fn blanks_of_a_typed_code_are_let_go() {
        assert_eq!(without_blanks(&Hidden::new("123 456".to_owned())).as_str(), "123456");
    }
}
